import Glibc
import Synchronization

/// A fixed number of threads that run blocking work: parallel parts of one operation, long requests of the doors.
/// Started by its owner, stopped by `stop()`; what is queued by then still runs.
package final class WorkerPool: Sendable {
    /// What the threads share; it outlives the pool until the last of them has ended.
    private final class Queue: Sendable {
        private struct State {
            var work: [@Sendable () -> Void] = []
            var head = 0
            var isStopping = false
        }

        private let state = Mutex(State())
        let signal = CountingSemaphore()

        /// False if the pool stops.
        func append(_ work: @escaping @Sendable () -> Void) -> Bool {
            let isStopping = state.withLock { state in
                if !state.isStopping { state.work.append(work) }
                return state.isStopping
            }
            if !isStopping { signal.post() }
            return !isStopping
        }

        func next() -> (@Sendable () -> Void)? {
            signal.wait()
            return state.withLock { state in
                guard state.head < state.work.count else { return nil }
                let work = state.work[state.head]
                state.head += 1
                if state.head == state.work.count {
                    state.work.removeAll(keepingCapacity: true)
                    state.head = 0
                } else if state.head > 1024 && state.head * 2 > state.work.count {
                    state.work.removeFirst(state.head)
                    state.head = 0
                }
                return work
            }
        }

        func stop(threads: Int) {
            state.withLock { $0.isStopping = true }
            for _ in 0..<threads { signal.post() }
        }
    }

    private let queue = Queue()
    private let threads: Mutex<[Thread]> = Mutex([])
    /// Threads of the pool.
    package let width: Int

    package init(name: String, width: Int) {
        self.width = width
        for index in 0..<width {
            let thread = Thread(name: "\(name)-\(index)") { [queue] in
                // Signalled with nothing queued: the pool stops.
                while let work = queue.next() { work() }
            }
            threads.withLock { $0.append(thread) }
        }
    }

    /// Runs `work` on one of the threads, soon; at once, on the calling thread, if the pool stops.
    package func run(_ work: @escaping @Sendable () -> Void) {
        if !queue.append(work) { work() }
    }

    /// Lets the queue run empty, then ends the threads. Call once.
    package func stop() {
        let threads = threads.withLock { threads in
            defer { threads = [] }
            return threads
        }
        queue.stop(threads: threads.count)
        for thread in threads { thread.join() }
    }
}

/// The parts of one operation that run on a pool: at most as many at once as it is wide, until the first fails.
/// Used by one thread, and never by one of the pool's own.
package final class PoolTasks: Sendable {
    private struct State {
        var running = 0
        var runningBytes = 0
        var failure: (any Error)?
    }

    private let state = Mutex(State())
    private let ended = CountingSemaphore()
    private let pool: WorkerPool
    private let mostBytes: Int

    /// - Parameter mostBytes: bytes all running tasks may hold; a task of its own may hold more.
    package init(_ pool: WorkerPool, mostBytes: Int = .max) {
        self.pool = pool
        self.mostBytes = mostBytes
    }

    /// Runs `body` soon; waits while too many tasks run, or hold too many bytes. Throws what an earlier task threw.
    /// - Parameter byteCount: bytes that the task holds until it ends; with none, the bytes of others do not keep it
    ///   waiting.
    package func start(byteCount: Int = 0, _ body: @escaping @Sendable () throws -> Void) throws {
        while state.withLock({ isFull($0, for: byteCount) }) { try waitForOne() }
        state.withLock { state in
            state.running += 1
            state.runningBytes += byteCount
        }
        pool.run { [self] in
            do { try body() } catch { state.withLock { $0.failure = $0.failure ?? error } }
            state.withLock { $0.runningBytes -= byteCount }
            ended.post()
        }
    }

    private func isFull(_ state: borrowing State, for byteCount: Int) -> Bool {
        if state.running >= max(pool.width, 1) { return true }
        return byteCount > 0 && state.running > 0 && state.runningBytes + byteCount > mostBytes
    }

    private func waitForOne() throws {
        ended.wait()
        let failure = state.withLock { state in
            state.running -= 1
            return state.failure
        }
        if let failure { throw failure }
    }

    /// Waits until all have ended. Throws what the first that failed threw.
    package func waitForAll() throws {
        while state.withLock({ $0.running }) > 0 { try waitForOne() }
    }

    /// Lets what runs end; its outcome is of no interest any more.
    package func drain() {
        while state.withLock({ $0.running }) > 0 { try? waitForOne() }
    }
}

/// One POSIX thread with a name, joined by its owner.
package final class Thread: Sendable {
    private let handle: Mutex<pthread_t?>

    private final class Start: Sendable {
        let name: String
        let body: @Sendable () -> Void
        init(name: String, body: @escaping @Sendable () -> Void) {
            self.name = name
            self.body = body
        }
    }

    /// - Parameter name: at most 15 bytes are shown by the system (pthread_setname_np(3)).
    package init(name: String, _ body: @escaping @Sendable () -> Void) {
        var thread: pthread_t = 0
        let start = unsafe Unmanaged.passRetained(Start(name: String(name.prefix(15)), body: body))
        let status = unsafe withUnsafeTemporaryAllocation(of: pthread_attr_t.self, capacity: 1) { attributes in
            unsafe pthread_attr_init(attributes.baseAddress!)
            // 512 KiB: deep enough for every call of ours; only touched pages cost memory.
            unsafe pthread_attr_setstacksize(attributes.baseAddress!, 512 * 1024)
            defer { unsafe pthread_attr_destroy(attributes.baseAddress!) }
            return unsafe pthread_create(
                &thread, attributes.baseAddress!,
                { context in
                    let start = unsafe Unmanaged<Start>.fromOpaque(context!).takeRetainedValue()
                    Thread.name(start.name)
                    start.body()
                    return nil
                }, unsafe start.toOpaque())
        }
        precondition(status == 0, "no thread could be started: error \(status)")
        handle = Mutex(thread)
    }

    /// Names the calling thread through /proc, which needs none of glibc's extensions (proc(5), comm).
    private static func name(_ name: String) {
        let file = unsafe open("/proc/thread-self/comm", O_WRONLY | O_CLOEXEC)
        guard file >= 0 else { return }
        _ = unsafe Array(name.utf8).withUnsafeBytes { unsafe write(file, $0.baseAddress, $0.count) }
        close(file)
    }

    package func join() {
        let thread = handle.withLock { handle in
            defer { handle = nil }
            return handle
        }
        if let thread { pthread_join(thread, nil) }
    }
}

/// A counting semaphore (sem_init(3)).
@safe package final class CountingSemaphore: @unchecked Sendable {
    // sem_t may be used from any thread by its contract; the pointer never changes.
    private let handle: UnsafeMutablePointer<sem_t>

    package init() {
        unsafe handle = .allocate(capacity: 1)
        unsafe sem_init(handle, 0, 0)
    }

    deinit {
        unsafe sem_destroy(handle)
        unsafe handle.deallocate()
    }

    package func post() { unsafe sem_post(handle) }

    package func wait() {
        while unsafe sem_wait(handle) != 0 {}  // Only EINTR can happen.
    }

    /// False if nothing was posted within `milliseconds`.
    package func wait(milliseconds: Int) -> Bool {
        var deadline = timespec()
        unsafe clock_gettime(CLOCK_REALTIME, &deadline)
        deadline.tv_sec += milliseconds / 1000
        deadline.tv_nsec += (milliseconds % 1000) * 1_000_000
        if deadline.tv_nsec >= 1_000_000_000 {
            deadline.tv_sec += 1
            deadline.tv_nsec -= 1_000_000_000
        }
        while unsafe sem_timedwait(handle, &deadline) != 0 {
            if errno == ETIMEDOUT { return false }
        }
        return true
    }
}
