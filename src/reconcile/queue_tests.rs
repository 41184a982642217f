use super::*;

const SECOND: Duration = Duration::from_secs(1);

#[derive(Default)]
struct Log(Mutex<Vec<String>>);

impl Log {
    fn add(&self, text: impl Into<String>) {
        self.0.lock().unwrap().push(text.into());
    }
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl QueueObserver for Log {
    fn depth(&self, _: usize) {}
    fn started(&self, active: usize) {
        self.add(format!("started {active}"));
    }
    fn finished(&self, how: Finished, took: Duration, active: usize) {
        self.add(format!("{how:?} {} {active}", took.as_secs()));
    }
}

fn queue() -> Queue<&'static str> {
    Queue::new(Arc::new(Unobserved))
}

/// Runs the queue for a while of paused time, then drops the passes in hand.
async fn run_for<F, Fut>(queue: &Queue<&'static str>, workers: usize, length: Duration, pass: F)
where
    F: Fn(&'static str) -> Fut,
    Fut: Future<Output = Next>,
{
    let _ = tokio::time::timeout(length, queue.run(workers, pass)).await;
}

#[tokio::test(start_paused = true)]
async fn runs_in_order_of_due_time_overdue_first() {
    let (queue, log) = (queue(), Log::default());
    let now = Instant::now();
    queue.add("later", now + 3 * SECOND);
    queue.add("now", now);
    tokio::time::advance(10 * SECOND).await;
    queue.add("fresh", Instant::now());
    queue.add("long overdue", now);
    queue.add("later", now + 9 * SECOND);
    run_for(&queue, 1, SECOND, |key| {
        log.add(key);
        async { Next::Done }
    })
    .await;
    assert_eq!(log.take(), ["now", "long overdue", "later", "fresh"]);
    assert!(queue.is_empty());
}

/// The first is at once, those that come while it is fresh are one pass, and what is asked without that does not wait for them.
#[tokio::test(start_paused = true)]
async fn passes_that_may_be_apart_are() {
    let (queue, log, start) = (queue(), Log::default(), Instant::now());
    let pass = |key| {
        log.add(format!("{key} {:?}", start.elapsed()));
        async { Next::In(60 * SECOND) }
    };
    let half = SECOND / 2;
    queue.add_apart("a", 2 * SECOND);
    run_for(&queue, 1, half, pass).await;
    queue.add_apart("a", 2 * SECOND);
    run_for(&queue, 1, half, pass).await;
    queue.add_apart("a", 2 * SECOND);
    queue.add_apart("b", 2 * SECOND);
    run_for(&queue, 1, 2 * SECOND, pass).await;
    assert_eq!(log.take(), ["a 0ns", "b 1s", "a 2s"]);
    queue.add_apart("a", 2 * SECOND);
    queue.add_now("a");
    run_for(&queue, 1, half, pass).await;
    assert_eq!(log.take(), ["a 3s"]);
    queue.add_now("a");
    run_for(&queue, 1, half, |_| async { Next::Done }).await;
    queue.add_apart("a", 2 * SECOND);
    run_for(&queue, 1, SECOND, pass).await;
    assert_eq!(log.take(), ["a 4s"], "nothing is kept of what is done with");
}

#[tokio::test(start_paused = true)]
async fn the_earliest_request_counts() {
    let (queue, log) = (queue(), Log::default());
    let start = Instant::now();
    queue.add("k", start + 30 * SECOND);
    queue.add("k", start + 5 * SECOND);
    queue.add("k", start + 20 * SECOND);
    run_for(&queue, 1, 100 * SECOND, |_| {
        log.add(format!("{}", start.elapsed().as_secs()));
        async { Next::Done }
    })
    .await;
    assert_eq!(log.take(), ["5"]);
}

#[tokio::test(start_paused = true)]
async fn a_request_made_while_waiting_wakes_the_loop() {
    let (queue, log) = (queue(), Log::default());
    let start = Instant::now();
    queue.add("k", start + 60 * SECOND);
    let adder = async {
        tokio::time::sleep(2 * SECOND).await;
        queue.add_now("k");
        std::future::pending::<()>().await;
    };
    let run = run_for(&queue, 1, 100 * SECOND, |_| {
        log.add(format!("{}", start.elapsed().as_secs()));
        async { Next::Done }
    });
    tokio::select! { () = run => {}, () = adder => {} }
    assert_eq!(log.take(), ["2"]);
}

#[tokio::test(start_paused = true)]
async fn a_key_in_work_runs_again_but_never_twice_at_once() {
    let (queue, log) = (queue(), Log::default());
    queue.add_now("k");
    run_for(&queue, 4, 100 * SECOND, |key| {
        let (queue, log) = (&queue, &log);
        async move {
            log.add("begin");
            if log.0.lock().unwrap().len() == 1 {
                queue.add(key, Instant::now() + 50 * SECOND);
                queue.add_now(key);
            }
            tokio::time::sleep(SECOND).await;
            log.add("end");
            Next::In(1000 * SECOND)
        }
    })
    .await;
    assert_eq!(log.take(), ["begin", "end", "begin", "end"]);
    assert_eq!(queue.len(), 1, "and waits for its next due time");
}

#[tokio::test(start_paused = true)]
async fn no_more_than_the_allowed_number_at_once() {
    let log = Arc::new(Log::default());
    let queue: Queue<u32> = Queue::new(Arc::clone(&log) as Arc<dyn QueueObserver>);
    for key in 0..5 {
        queue.add_now(key);
    }
    let run = queue.run(2, |_| async {
        tokio::time::sleep(SECOND).await;
        Next::Done
    });
    let _ = tokio::time::timeout(10 * SECOND, run).await;
    let log = log.take();
    assert_eq!(log.iter().filter(|l| l.starts_with("Success 1")).count(), 5, "{log:?}");
    assert!(log.iter().all(|l| !l.ends_with('3')), "{log:?}");
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_counted_and_tried_again_after_a_while_and_harms_nobody() {
    let log = Arc::new(Log::default());
    let queue: Queue<&str> = Queue::new(Arc::clone(&log) as Arc<dyn QueueObserver>);
    queue.add_now("bad");
    queue.add_now("good");
    let start = Instant::now();
    let runs = Log::default();
    let run = queue.run(2, |key| {
        let (queue, runs) = (&queue, &runs);
        assert!(key != "bad" || runs.0.lock().unwrap().len() > 3, "before the future");
        async move {
            runs.add(format!("{key} {}", start.elapsed().as_secs()));
            if key == "good" {
                // As a watch event of the bad object would.
                queue.add_now("bad");
            }
            Next::In(4 * SECOND)
        }
    });
    let _ = tokio::time::timeout(18 * SECOND, run).await;
    let runs = runs.take();
    assert_eq!(runs.iter().filter(|r| r.starts_with("good")).count(), 5, "{runs:?}");
    assert!(runs.iter().any(|r| r.starts_with("bad")), "{runs:?}");
    let panics = log.take().iter().filter(|l| l.starts_with("Panic")).count();
    assert!((2..=5).contains(&panics), "backed off in spite of the wake-ups: {panics}");
}

#[tokio::test(start_paused = true)]
async fn a_panic_inside_the_future_is_caught_too() {
    let log = Arc::new(Log::default());
    let queue: Queue<&str> = Queue::new(Arc::clone(&log) as Arc<dyn QueueObserver>);
    queue.add_now("bad");
    let run = queue.run(1, |_| async {
        tokio::time::sleep(SECOND).await;
        panic!("inside")
    });
    assert!(tokio::time::timeout(Duration::from_millis(1500), run).await.is_err(), "still running");
    assert_eq!(log.take(), ["started 1", "Panic 1 0"]);
}

#[tokio::test(start_paused = true)]
async fn closing_finishes_the_work_in_hand_and_starts_none() {
    let (queue, log) = (queue(), Log::default());
    queue.add_now("a");
    queue.add("b", Instant::now() + SECOND);
    let run = queue.run(1, |key| {
        let (queue, log) = (&queue, &log);
        async move {
            queue.close();
            queue.add_now("c");
            tokio::time::sleep(5 * SECOND).await;
            log.add(key);
            Next::In(SECOND)
        }
    });
    tokio::time::timeout(10 * SECOND, run).await.expect("run returns after close");
    assert_eq!(log.take(), ["a"]);
}

#[tokio::test(start_paused = true)]
async fn an_idle_queue_closes_at_once() {
    let queue = queue();
    let closer = async {
        tokio::time::sleep(SECOND).await;
        queue.close();
    };
    let (ended, ()) = tokio::join!(tokio::time::timeout(2 * SECOND, queue.run(1, |_| async { Next::Done })), closer);
    assert!(ended.is_ok());
}

#[tokio::test(start_paused = true)]
async fn dropping_the_run_drops_the_passes_and_keeps_their_keys() {
    let (queue, log) = (queue(), Log::default());
    queue.add_now("k");
    run_for(&queue, 1, SECOND, |_| async {
        tokio::time::sleep(5 * SECOND).await;
        log.add("must not get here");
        Next::Done
    })
    .await;
    assert_eq!(log.take(), Vec::<String>::new());
    run_for(&queue, 1, SECOND, |key| {
        log.add(key);
        async { Next::Done }
    })
    .await;
    assert_eq!(log.take(), ["k"]);
}

#[tokio::test(start_paused = true)]
async fn results_are_told_apart_and_a_huge_wait_is_no_overflow() {
    let log = Arc::new(Log::default());
    let queue: Queue<u8> = Queue::new(Arc::clone(&log) as Arc<dyn QueueObserver>);
    for key in 0..4 {
        queue.add_now(key);
    }
    let run = queue.run(1, |key| async move {
        match key {
            0 => Next::Done,
            1 => Next::In(Duration::MAX),
            2 => Next::Failed(Duration::from_secs(100)),
            _ => Next::Terminal(Duration::from_secs(100)),
        }
    });
    let _ = tokio::time::timeout(SECOND, run).await;
    let ends: Vec<String> = log.take().into_iter().filter(|l| !l.starts_with("started")).collect();
    assert_eq!(ends, ["Success 0 0", "RequeueAfter 0 0", "Error 0 0", "Terminal 0 0"]);
    assert_eq!(queue.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn what_is_urgent_goes_first_and_has_workers_of_its_own() {
    let log = Log::default();
    let queue: Queue<&'static str> = Queue::reserving(Arc::new(Unobserved), 1);
    for key in ["a", "b", "c"] {
        queue.add_now(key);
    }
    queue.add("end", Instant::now() + 100 * SECOND);
    queue.add_urgent("end", Instant::now() + 2 * SECOND);
    let start = Instant::now();
    run_for(&queue, 1, 60 * SECOND, |key| {
        log.add(format!("{key} {}", start.elapsed().as_secs()));
        async {
            tokio::time::sleep(10 * SECOND).await;
            Next::Done
        }
    })
    .await;
    assert_eq!(log.take(), ["a 0", "end 2", "b 10", "c 20"], "although all workers were busy");
    assert_eq!(queue.len(), 1, "its other request is not due yet");
}

#[tokio::test(start_paused = true)]
async fn urgent_keys_may_use_all_workers_and_the_usual_ones_not_the_reserve() {
    let queue: Queue<&'static str> = Queue::reserving(Arc::new(Unobserved), 2);
    let most = Mutex::new((0, 0));
    for key in ["a", "b", "c", "d"] {
        queue.add_now(key);
    }
    run_for(&queue, 1, SECOND, |_| async {
        most.lock().unwrap().0 += 1;
        std::future::pending().await
    })
    .await;
    let urgent: Queue<&'static str> = Queue::reserving(Arc::new(Unobserved), 2);
    for key in ["a", "b", "c", "d"] {
        urgent.add_urgent(key, Instant::now());
    }
    run_for(&urgent, 1, SECOND, |_| async {
        most.lock().unwrap().1 += 1;
        std::future::pending().await
    })
    .await;
    assert_eq!(*most.lock().unwrap(), (1, 3));
}

#[tokio::test(start_paused = true)]
async fn one_pass_meets_both_requests_that_are_due() {
    let (queue, log) = (queue(), Log::default());
    queue.add_now("k");
    queue.add_urgent("k", Instant::now());
    run_for(&queue, 4, SECOND, |key| {
        log.add(key);
        async { Next::Done }
    })
    .await;
    assert_eq!(log.take(), ["k"]);
    assert!(queue.is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_urgent_request_for_a_key_in_work_is_not_lost() {
    let (queue, log) = (queue(), Log::default());
    queue.add_now("k");
    run_for(&queue, 4, 60 * SECOND, |key| {
        let (queue, log) = (&queue, &log);
        async move {
            log.add("begin");
            if log.0.lock().unwrap().len() == 1 {
                queue.add_urgent(key, Instant::now());
                queue.add_urgent(key, Instant::now() + 30 * SECOND);
            }
            tokio::time::sleep(SECOND).await;
            log.add("end");
            Next::Done
        }
    })
    .await;
    assert_eq!(log.take(), ["begin", "end", "begin", "end"]);
}

#[tokio::test(start_paused = true)]
async fn a_pause_holds_back_all_that_is_not_urgent() {
    let (queue, log) = (queue(), Log::default());
    queue.add_now("usual");
    queue.add_urgent("urgent", Instant::now());
    queue.add_urgent("later", Instant::now() + 5 * SECOND);
    queue.pause();
    assert!(!queue.nothing_urgent());
    run_for(&queue, 4, SECOND, |key| {
        log.add(key);
        async { Next::Done }
    })
    .await;
    assert_eq!(log.take(), ["urgent"]);
    assert!(queue.nothing_urgent(), "what is not due yet does not count");
    queue.resume();
    run_for(&queue, 4, SECOND, |key| {
        log.add(key);
        async { Next::Done }
    })
    .await;
    assert_eq!(log.take(), ["usual"]);
}
