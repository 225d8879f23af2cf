//! Exit statuses, help and errors.

use crate::{Served, basemanager, run};

const COMMANDS: [&str; 10] =
    ["serve", "put", "get", "peek", "stat", "watch", "work", "call", "close", "doctor"];

#[test]
fn every_exit_status() {
    let served = Served::new(&["--queue", "task_queue,maxsize=1"]);
    served.ok(&["put", "task_queue", "1"]);
    served.run(&["put", "task_queue", "2", "--timeout", "0"]).failed(1);
    for wrong in
        [&["get"][..], &["foo"], &["put", "q", "--timeout", "x", "1"], &["serve", "--queue", ",a"]]
    {
        let usage = run(basemanager(wrong), b"").failed(2);
        assert!(usage.contains("--help"), "{usage}");
    }
    let nobody = run(basemanager(&["get", "q", "--address", "127.0.0.1:1"]), b"").failed(3);
    assert!(
        nobody.contains("no manager at 127.0.0.1:1") && nobody.contains("basemanager serve"),
        "{nobody}"
    );
    let mut wrong = served.command(&["get", "task_queue"]);
    wrong.env("MANAGER_AUTHKEY", "another");
    let wrong = run(wrong, b"").failed(4);
    assert!(wrong.contains("MANAGER_AUTHKEY"), "{wrong}");
    served.run(&["call", "task_queue", "task_done"]).ok();
    let raised = served.run(&["call", "task_queue", "task_done"]).failed(5);
    assert!(raised.contains("ValueError"), "{raised}");
}

#[test]
fn connection_lost_while_waiting_is_3() {
    let mut served = Served::new(&[]);
    let mut get = served.start(&["get", "task_queue"]);
    crate::support::until_asleep(&[&get], || true);
    served.process.kill();
    get.end(crate::support::PATIENCE).with(3);
}

#[test]
fn help_of_every_command_fits_a_screen_and_has_an_example() {
    let overview = run(basemanager(&[]), b"").ok();
    for command in COMMANDS {
        assert!(overview.contains(&format!("  {command} ")), "{command}");
        let help = run(basemanager(&[command, "--help"]), b"").ok();
        assert!(help.lines().count() <= 40, "{command}: {} lines", help.lines().count());
        assert!(help.contains("Example"), "{command}: {help}");
    }
}

#[test]
fn completions_and_manual_page_are_printed() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        assert!(run(basemanager(&["completions", shell]), b"").ok().contains("basemanager"));
    }
    let page = run(basemanager(&["man"]), b"").ok();
    assert!(page.contains(".TH basemanager") && page.contains("max\\-connections"), "{page}");
    assert!(run(basemanager(&["--version"]), b"").ok().starts_with("basemanager "));
}

#[test]
fn service_that_is_no_manager_is_3() {
    use std::io::{Read, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.write_all(b"SSH-2.0-OpenSSH_9.6\r\n");
            let _ = stream.read(&mut [0; 100]);
        }
    });
    let ssh = run(basemanager(&["stat", "--address", &address]), b"").failed(3);
    assert!(ssh.contains("SSH"), "{ssh}");
}

#[test]
fn closed_output_ends_a_command_without_a_panic() {
    use std::process::Stdio;
    let served = Served::new(&[]);
    for args in [&["watch", "--interval", "100ms"][..], &["stat"], &["man"]] {
        let mut command = served.command(args);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{args:?}: {output:?}");
    }
}
