import CHTTP
import Foundations
import Glibc
import Synchronization

/// Bytes that are made while they are sent. If that fails the connection is ended: the library notes that it is to be, but
/// does nothing about it before something comes over the wire.
final class BodyStream: Sendable {
    /// What was read on the pool.
    private struct Loaded {
        var position: Int64
        var bytes: ArraySlice<UInt8>
        var failure: (any Error)?
    }

    private let read: @Sendable (Int64, Int) throws -> [UInt8]
    private let socket: Int32
    private let isOpenEnded: Bool
    private let lent: LentConnection?
    private let loaded = Mutex<Loaded?>(nil)
    /// Bytes that are read at once on the pool.
    private static let pieceBytes = 512 << 10

    /// - Parameters:
    ///   - lent: where reading may wait; nil where it may not, and happens on the connection's thread.
    ///   - isOpenEnded: whether no bytes are the end, and not too few.
    init(
        _ socket: Int32, lent: LentConnection?, isOpenEnded: Bool = false,
        _ read: @escaping @Sendable (Int64, Int) throws -> [UInt8]
    ) {
        self.read = read
        self.socket = socket
        self.lent = lent
        self.isOpenEnded = isOpenEnded
    }

    /// The library's answer of that many bytes; nil if there is no memory. It keeps the stream.
    func response(of count: UInt64) -> OpaquePointer? {
        unsafe MHD_create_response_from_callback(
            count, 128 * 1024,
            { context, position, buffer, room in
                unsafe Unmanaged<BodyStream>.fromOpaque(context!).takeUnretainedValue().fill(
                    UnsafeMutableRawBufferPointer(start: buffer, count: room), at: Int64(position))
            }, unsafe Unmanaged.passRetained(self).toOpaque(),
            { unsafe Unmanaged<BodyStream>.fromOpaque($0!).release() })
    }

    /// What the library's callback returns: a number of bytes, or one of its own words. None means that the connection
    /// is suspended, and asks again.
    private func fill(_ buffer: UnsafeMutableRawBufferPointer, at position: Int64) -> Int {
        do {
            let bytes: [UInt8]
            if let lent {
                guard let found = try take(buffer.count, at: position) else {
                    if lent.suspend(for: { [self] in load(position) }) { return 0 }
                    return Int(MHD_CONTENT_READER_END_WITH_ERROR)
                }
                bytes = found
            } else {
                bytes = try read(position, buffer.count)
            }
            guard bytes.isEmpty else {
                unsafe buffer.copyBytes(from: bytes)
                return bytes.count
            }
            if isOpenEnded { return Int(MHD_CONTENT_READER_END_OF_STREAM) }
        } catch {
            Log.error("an answer ended early", ["reason": "\(error)"])
        }
        shutdown(socket, Int32(SHUT_RDWR))
        return Int(MHD_CONTENT_READER_END_WITH_ERROR)
    }

    private func load(_ position: Int64) {
        var next = Loaded(position: position, bytes: [])
        do { next.bytes = try read(position, Self.pieceBytes)[...] } catch { next.failure = error }
        loaded.withLock { [next] in $0 = next }
    }

    /// Bytes that were loaded; nil if those of this position were not.
    private func take(_ most: Int, at position: Int64) throws -> [UInt8]? {
        try loaded.withLock { loaded in
            guard var known = loaded, known.position == position else { return nil }
            if let failure = known.failure { throw failure }
            let bytes = Array(known.bytes.prefix(most))
            known.bytes = known.bytes.dropFirst(most)
            known.position += Int64(bytes.count)
            loaded = known.bytes.isEmpty && !bytes.isEmpty ? nil : known
            return bytes
        }
    }
}
