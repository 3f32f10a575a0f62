//! Closed windows on their way to the writer: bounded, the oldest given up first, each one given up counted.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::profile::{LossCause, Losses, Window};
use crate::symbolizer::Answers;

/// Windows kept while the store cannot take them: five minutes of 10 s windows.
const MOST_WINDOWS: usize = 30;
/// Frames of all their stacks together, 16 bytes each: 128 MiB. Windows of ever new deep stacks are larger than any host's.
const MOST_FRAMES: usize = 8 << 20;
/// Batches of names kept. The symbolizer asks for one batch at a time, so there are rarely two.
const MOST_NAMES: usize = 256;

/// How long to wait between two tries at the end, when somebody waits for it.
const LAST_PAUSE: Duration = Duration::from_millis(200);

/// What the writer takes from the queue.
#[derive(Debug)]
pub enum Work {
    /// A window to store.
    Window(Box<Window>),
    /// Names to store.
    Names(Box<Answers>),
    /// Nothing came in time.
    Nothing,
    /// Nothing will come any more.
    Closed,
}

#[derive(Debug, Default)]
struct State {
    windows: VecDeque<Box<Window>>,
    /// In `windows`.
    frames: usize,
    names: VecDeque<Box<Answers>>,
    given_up: Ledger,
    closed: bool,
}

impl State {
    fn is_full(&self) -> bool {
        self.windows.len() > MOST_WINDOWS || (self.frames > MOST_FRAMES && self.windows.len() > 1)
    }

    fn pop(&mut self) -> Option<Box<Window>> {
        let window = self.windows.pop_front()?;
        self.frames -= frames(&window);
        Some(window)
    }

    /// The oldest ones make room until the rest fits.
    fn give_up_excess(&mut self) {
        while self.is_full()
            && let Some(oldest) = self.pop()
        {
            self.given_up.give_up(&oldest, LossCause::QueueFull);
        }
    }
}

fn frames(window: &Window) -> usize {
    window.processes.iter().flat_map(|process| &process.stacks).map(|row| row.stack.len() + row.times.len() / 2).sum()
}

/// Samples that did not reach the store, for the next window's books.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// Samples taken.
    pub taken: u64,
    /// How they were lost.
    pub losses: Losses,
}

impl Ledger {
    /// Writes a whole window off.
    pub fn give_up(&mut self, window: &Window, cause: LossCause) {
        self.taken += window.taken;
        self.losses.merge(&window.losses);
        self.losses.add(cause, window.samples());
    }

    /// Takes in another ledger.
    pub fn merge(&mut self, other: Self) {
        self.taken += other.taken;
        self.losses.merge(&other.losses);
    }

    /// Moves its figures into `window`, whose books then cover them.
    pub fn charge(&mut self, window: &mut Window) {
        let Self { taken, losses } = std::mem::take(self);
        window.taken += taken;
        window.losses.merge(&losses);
    }
}

/// The queue.
#[derive(Debug, Default)]
pub struct WindowQueue {
    state: Mutex<State>,
    changed: Condvar,
}

impl WindowQueue {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands a window over; when the queue is full the oldest one makes room and its samples are counted as lost.
    pub fn push(&self, window: Window) {
        let mut state = self.state();
        state.frames += frames(&window);
        state.windows.push_back(Box::new(window));
        state.give_up_excess();
        self.changed.notify_one();
    }

    /// Hands names over. When there is no room they are dropped: their locations stay unnamed and are asked for again.
    pub fn push_names(&self, names: Answers) {
        let mut state = self.state();
        if state.names.len() < MOST_NAMES {
            state.names.push_back(Box::new(names));
            self.changed.notify_one();
        }
    }

    /// Drops the names that wait: their rows are of a database that is no more.
    pub fn forget_names(&self) {
        self.state().names.clear();
    }

    /// Says that no window comes any more.
    pub fn close(&self) {
        self.state().closed = true;
        self.changed.notify_one();
    }

    /// Takes what is due: names first (they are small and make the page readable), then the oldest window, which carries the
    /// samples of windows given up before it. Waits up to `patience`.
    pub fn take(&self, patience: Duration) -> Work {
        let state = self.state();
        let idle = |state: &mut State| state.windows.is_empty() && state.names.is_empty() && !state.closed;
        let (mut state, _) =
            self.changed.wait_timeout_while(state, patience, idle).unwrap_or_else(PoisonError::into_inner);
        if let Some(names) = state.names.pop_front() {
            return Work::Names(names);
        }
        match state.pop() {
            Some(mut window) => {
                state.given_up.charge(&mut window);
                Work::Window(window)
            }
            None if state.closed => Work::Closed,
            None => Work::Nothing,
        }
    }

    /// Puts a window back that the store could not take now; it is the oldest again. Full meanwhile: it is the one to give up.
    pub fn put_back(&self, window: Box<Window>) {
        let mut state = self.state();
        state.frames += frames(&window);
        state.windows.push_front(window);
        state.give_up_excess();
    }

    /// Waits before something is tried again; not for longer than [`LAST_PAUSE`] once nothing comes any more.
    pub fn pause(&self, pause: Duration) {
        let state = self.state();
        let pause = if state.closed { LAST_PAUSE } else { pause };
        let was_closed = state.closed;
        // Poisoned or not, the wait is over.
        let _ = self.changed.wait_timeout_while(state, pause, |state| state.closed == was_closed);
    }

    /// Whether no more windows come.
    pub fn is_closed(&self) -> bool {
        self.state().closed
    }

    /// Takes the figures of windows given up that no window carries yet: what is left at the end.
    pub fn given_up(&self) -> Ledger {
        std::mem::take(&mut self.state().given_up)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::profile::{
        BinaryId, BootNanos, CpuTicks, Location, ProcessFacts, ProcessKey, ProcessWindow, SampleEvent,
    };
    use crate::profile::{StackCount, StackEnd, StartTicks, WallNanos};

    /// A window of `samples` samples and one lost to a full ring.
    fn window(number: u64, samples: u64) -> Window {
        let mut losses = Losses::default();
        losses.add(LossCause::RingFull, 1);
        let key = ProcessKey { pid: 1, start: StartTicks(0) };
        let facts = ProcessFacts { key, comm: "x".into(), exe: None, cgroup: "/".into(), container: None, unit: None };
        let row = StackCount {
            tid: 1,
            thread: "x".into(),
            stack: Arc::from([]),
            end: StackEnd::Complete,
            count: samples,
            times: Vec::new(),
        };
        Window {
            host: Arc::default(),
            boot_id: "boot".into(),
            start: BootNanos(number),
            end: BootNanos(number + 1),
            wall_start: WallNanos(0),
            wall_end: WallNanos(0),
            event: SampleEvent::CpuClock,
            hz: 97,
            cpus: 1,
            ticks: CpuTicks::default(),
            taken: samples + 1,
            losses,
            binaries: vec![],
            processes: vec![ProcessWindow { facts: Arc::new(facts), stacks: vec![row] }],
        }
    }

    /// The next window stored tells of every sample of those given up: taken = stored + lost still holds.
    #[test]
    fn a_full_queue_gives_up_the_oldest_and_the_books_still_balance() {
        let queue = WindowQueue::default();
        let pushed = MOST_WINDOWS as u64 + 5;
        (0..pushed).for_each(|n| queue.push(window(n, 10)));
        let Work::Window(first) = queue.take(Duration::ZERO) else { panic!("a window is waiting") };
        assert_eq!(first.start, BootNanos(5), "the five oldest are gone");
        assert_eq!(first.taken, 6 * 11);
        assert_eq!(first.losses.0[&LossCause::QueueFull], 5 * 10);
        assert_eq!(first.taken, first.samples() + first.losses.total());
        let Work::Window(second) = queue.take(Duration::ZERO) else { panic!("a window is waiting") };
        assert_eq!((second.taken, second.losses.total()), (11, 1), "told once");
    }

    /// A few windows of huge stacks fill the queue as thirty common ones do; the youngest always has room.
    #[test]
    fn the_queue_is_bounded_in_memory_too() {
        let queue = WindowQueue::default();
        let location = Location { binary: BinaryId(0), offset: 0 };
        for number in 0..4 {
            let mut large = window(number, 10);
            large.processes[0].stacks[0].stack = vec![location; MOST_FRAMES / 2 + 1].into();
            queue.push(large);
            assert_eq!(queue.state().windows.len(), 1);
        }
        assert_eq!(queue.given_up().taken, 33);
        assert_eq!(queue.given_up(), Ledger::default(), "told once");
    }

    /// A window put back is tried again before younger ones, and counted when there is no room for it.
    #[test]
    fn a_window_put_back_is_the_oldest_again() {
        let queue = WindowQueue::default();
        queue.push(window(1, 10));
        queue.push(window(2, 10));
        let Work::Window(first) = queue.take(Duration::ZERO) else { panic!("a window is waiting") };
        queue.put_back(first);
        let Work::Window(again) = queue.take(Duration::ZERO) else { panic!("a window is waiting") };
        assert_eq!(again.start, BootNanos(1));
        (0..MOST_WINDOWS as u64).for_each(|n| queue.push(window(n + 3, 10)));
        queue.put_back(again);
        // Number 2 made room for the youngest, number 1 found none.
        assert_eq!(queue.state().given_up.taken, 22);
        assert_eq!(queue.state().windows.len(), MOST_WINDOWS);
    }

    /// Somebody who waits to try again does not keep the program from ending.
    #[test]
    fn a_pause_ends_when_the_queue_is_closed() {
        let queue = WindowQueue::default();
        let begun = std::time::Instant::now();
        std::thread::scope(|scope| {
            let paused = scope.spawn(|| queue.pause(Duration::from_secs(600)));
            queue.push(window(1, 1));
            assert!(!paused.is_finished(), "a window does not end it");
            queue.close();
            paused.join().expect("no panic");
        });
        assert!(begun.elapsed() < Duration::from_secs(60));
        queue.pause(Duration::from_secs(600));
        assert!(begun.elapsed() < Duration::from_secs(60));
    }

    /// Closing lets the writer empty the queue first.
    #[test]
    fn a_closed_queue_is_emptied_before_it_ends() {
        let queue = WindowQueue::default();
        queue.push(window(1, 1));
        queue.close();
        assert!(matches!(queue.take(Duration::ZERO), Work::Window(_)));
        assert!(matches!(queue.take(Duration::ZERO), Work::Closed));
    }
}
