import CHTTP
import Foundations
import Glibc
import Synchronization

/// Lines that are sent as they come about, to a client that keeps listening (server-sent events; HTML standard, 9.2). While
/// there is nothing to send its connection is suspended, and no thread is held. Safe from any thread.
package final class EventQueue: Sendable {
    private struct State {
        var pending: [UInt8] = []
        var hasEnded = false
        var wake: (@Sendable () -> Void)?
    }
    private let state = Mutex(State())
    /// Bytes that wait for a client which does not read; more are dropped, which it can do without.
    private static let mostPending = 64 << 10

    package init() {}

    /// Sends some lines.
    /// - Returns: false if nobody listens any more.
    @discardableResult
    package func send(_ text: String) -> Bool {
        let (wake, isOpen) = state.withLock { state -> ((@Sendable () -> Void)?, Bool) in
            guard !state.hasEnded else { return (nil, false) }
            if state.pending.count < Self.mostPending { state.pending += text.utf8 }
            return (state.wake.take(), true)
        }
        wake?()
        return isOpen
    }

    /// Whether nobody listens any more, or it was ended.
    var isEnded: Bool { state.withLock { $0.hasEnded } }

    /// Ends it: the client's connection ends behind what waits.
    package func end() {
        let wake = state.withLock { state in
            state.hasEnded = true
            return state.wake.take()
        }
        wake?()
    }

    /// What is to be sent; no bytes at the end, nil if there is nothing now: then `wake` is called once there is.
    func next(_ most: Int, wake: @escaping @Sendable () -> Void) -> [UInt8]? {
        state.withLock { state in
            if state.pending.isEmpty {
                if state.hasEnded { return [] }
                state.wake = wake
                return nil
            }
            defer { state.pending.removeFirst(min(most, state.pending.count)) }
            return Array(state.pending.prefix(most))
        }
    }
}

/// One such answer on one connection.
final class EventStream: Sendable {
    private let queue: EventQueue
    private let connection: EventConnection

    /// A connection that waits for events; only its own thread touches it but for resuming it.
    @safe struct EventConnection: @unchecked Sendable {
        let connection: OpaquePointer
        let suspended: SuspendedConnections
    }

    init(_ queue: EventQueue, _ connection: EventConnection) {
        self.queue = queue
        self.connection = connection
    }

    deinit { queue.end() }

    /// The library's answer; nil if there is no memory. It keeps the stream.
    func response() -> OpaquePointer? {
        unsafe MHD_create_response_from_callback(
            UInt64.max, 4096,
            { context, _, buffer, room in
                unsafe Unmanaged<EventStream>.fromOpaque(context!).takeUnretainedValue().fill(
                    UnsafeMutableRawBufferPointer(start: buffer, count: room))
            }, unsafe Unmanaged.passRetained(self).toOpaque(),
            { unsafe Unmanaged<EventStream>.fromOpaque($0!).release() })
    }

    private func fill(_ buffer: UnsafeMutableRawBufferPointer) -> Int {
        // Whoever has something to send may come between the look and the suspension: the gate keeps them until then.
        let gate = Gate()
        guard let bytes = queue.next(buffer.count, wake: { gate.open() }) else {
            guard let resumable = unsafe connection.suspended.suspend(connection.connection) else {
                return Int(MHD_CONTENT_READER_END_OF_STREAM)
            }
            gate.pass { resumable.resume() }
            return 0
        }
        guard !bytes.isEmpty else { return Int(MHD_CONTENT_READER_END_OF_STREAM) }
        unsafe buffer.copyBytes(from: bytes)
        return bytes.count
    }

    /// Runs something once two have come: who opens it and who wants to pass.
    private final class Gate: Sendable {
        private let state = Mutex<(isOpen: Bool, work: (@Sendable () -> Void)?)>((false, nil))

        func open() {
            let work = state.withLock { state in
                state.isOpen = true
                return state.work.take()
            }
            work?()
        }

        func pass(_ work: @escaping @Sendable () -> Void) {
            let isOpen = state.withLock { state in
                if !state.isOpen { state.work = work }
                return state.isOpen
            }
            if isOpen { work() }
        }
    }
}
