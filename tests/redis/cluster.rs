//! Redis Cluster: each queue is on one node, which a queue finds by itself.

use basemanager::Queue;

use crate::Shared;
use crate::server::Redis;

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
