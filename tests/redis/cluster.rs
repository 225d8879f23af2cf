//! Redis Cluster: each queue is on one node, which a queue finds by itself.

use std::time::Duration;

use basemanager::Queue;

use crate::Shared;
use crate::server::Redis;
use crate::support::blocked;

#[test]
fn queues_of_all_nodes_are_reached_by_one_url() {
    let nodes = Redis::cluster();
    let urls = nodes.each_ref().map(|node| basemanager::Redis::new(&node.url()).unwrap());
    for name in 0..8 {
        let redis = &urls[name % 2];
        let dead = redis.queue("dead", Queue::options()).unwrap();
        let queue = redis.queue(&format!("jobs {name}"), Queue::options().maxsize(3)).unwrap();
        let shared = Shared::new(queue.dead_letters(1, &dead).unwrap(), dead);
        let (queue, mut consumer) = (shared.queue(), shared.consumer());
        (1..=3).for_each(|item| queue.put(item).unwrap());
        assert!(queue.try_put(4).unwrap_err().is_full());
        assert_eq!(consumer.get().unwrap(), 1.into());
        consumer.nack().unwrap();
        assert_eq!(shared.dead().get().unwrap(), 1.into());
        assert_eq!(consumer.get().unwrap(), 2.into());
        consumer.task_done().unwrap();
        assert_eq!(queue.proxy().call("peek", (9,)).unwrap(), vec![3].into());
        queue.shutdown(true).unwrap();
        assert_eq!(queue.len().unwrap(), 0);
        queue.join().unwrap();
    }
    let sizes = nodes.each_ref().map(|node| node.command("DBSIZE").unwrap());
    assert!(sizes.iter().all(|size| size != ":0" && size != ":1"), "{sizes:?}");
}

#[test]
fn lost_node_does_not_harm_queues_of_others() {
    let mut nodes = Redis::cluster();
    for node in &nodes {
        node.command("CONFIG SET cluster-require-full-coverage no").unwrap();
        // This node stays responsible for its slots.
        node.command("CONFIG SET cluster-node-timeout 600000").unwrap();
    }
    let redis = basemanager::Redis::new(&nodes[0].url()).unwrap();
    let on = |node: usize| {
        let has = |name: &String| {
            let slot = nodes[0].command(&format!("CLUSTER KEYSLOT {name}")).unwrap();
            (slot[1..].parse::<u16>().unwrap() > 8191) == (node == 1)
        };
        let name = (0..1000).map(|number| format!("jobs{number}")).find(has).unwrap();
        (redis.queue(&name, Queue::options().at_least_once()).unwrap(), name)
    };
    let ((lost, _), (healthy, name)) = (on(1), on(0));
    let (lost, shared) = (Shared::redis(&lost), Shared::redis(&healthy));
    let mut waiting = lost.consumer();
    let _waiter = blocked(move || waiting.get());
    shared.queue().put_many(1..=2).unwrap();
    let mut slow = shared.consumer();
    assert_eq!(slow.get().unwrap(), 1.into());
    // The item of a manager that is gone.
    let key = format!("basemanager:{{{name}}}:items");
    nodes[0].command(&format!("XREADGROUP GROUP managers unacknowledged STREAMS {key} >")).unwrap();
    nodes[1].kill();
    nodes[0].age(&name, Duration::from_secs(29));
    // The other item is renewed.
    let mut next = shared.consumer();
    assert_eq!(next.get().unwrap(), 2.into());
    assert_eq!(next.try_get().unwrap(), None);
    next.task_done().unwrap();
    slow.task_done().unwrap();
    shared.queue().join().unwrap();
}
