//! Exit statuses, help and errors.

use crate::{Served, basemanager, run};

const COMMANDS: [&str; 10] =
    ["serve", "put", "get", "peek", "stat", "watch", "work", "call", "close", "doctor"];

#[test]
fn every_exit_status() {
    let served = Served::new(&["--queue", "task_queue,maxsize=1"]);
    served.ok(&["put", "task_queue", "1"]);
    served.run(&["put", "task_queue", "2", "--timeout", "0"]).failed(1);
    let usage = run(basemanager(&["get"]), b"");
    assert_eq!(usage.status, 2);
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
    let overview = run(basemanager(&[]), b"");
    assert_eq!(overview.status, 2);
    for command in COMMANDS {
        assert!(overview.stderr.contains(&format!("  {command} ")), "{command}");
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
    assert!(run(basemanager(&["man"]), b"").ok().contains(".TH basemanager"));
    assert!(run(basemanager(&["--version"]), b"").ok().starts_with("basemanager "));
}
