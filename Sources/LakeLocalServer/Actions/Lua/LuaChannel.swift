import Foundations
import Glibc

/// Frames on a socket between the server and a script's process: the length in four bytes, the kind in one, a value.
struct LuaChannel {
    enum Kind: UInt8 {
        /// To the script: what to run. See `LuaWorker`.
        case start = 1
        /// From the script: what it prints.
        case output = 2
        /// From the script: a function of the server, and its arguments. Answered by `result` or `failure`.
        case call = 3
        case result = 4, failure = 5
        /// From the script: it has ended; nil, or why it has failed.
        case end = 6
    }

    enum Fault: Error {
        /// The other side is gone, or says what it must not.
        case broken
        /// It said nothing in time.
        case late
    }

    let descriptor: Int32
    /// Until when the other side is waited for, on the monotonic clock; nil for as long as it takes.
    var deadline: Int64?
    /// A frame's bytes: what a script holds at once is bounded by its memory.
    static let largestFrame = 64 << 20

    func send(_ kind: Kind, _ value: LuaValue) throws(Fault) {
        var bytes = [UInt8](repeating: 0, count: 5)
        LuaWire.append(value, to: &bytes)
        let count = bytes.count - 5
        guard count <= Self.largestFrame else { throw .broken }
        for index in 0..<4 { bytes[index] = UInt8(truncatingIfNeeded: count >> (8 * index)) }
        bytes[4] = kind.rawValue
        var done = 0
        while done < bytes.count {
            try wait(for: Int16(POLLOUT))
            let count = unsafe bytes.withUnsafeBytes {
                unsafe Glibc.send(
                    descriptor, $0.baseAddress! + done, bytes.count - done,
                    Int32(MSG_NOSIGNAL) | (deadline == nil ? 0 : Int32(MSG_DONTWAIT)))
            }
            if count < 0, errno == EINTR || errno == EAGAIN { continue }
            guard count > 0 else { throw .broken }
            done += count
        }
    }

    /// Waits until the other side can be read from or written to.
    private func wait(for events: Int16) throws(Fault) {
        guard let deadline else { return }
        while true {
            let left = max(0, deadline - Timestamp.monotonicMilliseconds())
            var waiting = pollfd(fd: descriptor, events: events, revents: 0)
            let ready = unsafe poll(&waiting, 1, Int32(clamping: left))
            if ready < 0, errno == EINTR { continue }
            guard ready > 0 else { throw .late }
            return
        }
    }

    /// The next frame.
    func receive() throws(Fault) -> (kind: Kind, value: LuaValue) {
        let head = try take(5)
        let count = (0..<4).reduce(0) { $0 | Int(head[$1]) << (8 * $1) }
        guard count <= Self.largestFrame, let kind = Kind(rawValue: head[4]) else { throw .broken }
        let body = try take(count)
        do throws(LuaWire.Malformed) { return (kind, try LuaWire.read(body)) } catch { throw .broken }
    }

    private func take(_ count: Int) throws(Fault) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: count)
        var done = 0
        while done < count {
            try wait(for: Int16(POLLIN))
            let read = unsafe bytes.withUnsafeMutableBytes {
                unsafe Glibc.read(descriptor, $0.baseAddress! + done, count - done)
            }
            if read < 0, errno == EINTR { continue }
            guard read > 0 else { throw .broken }
            done += read
        }
        return bytes
    }
}
