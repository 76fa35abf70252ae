import Foundations
import Transport
import Versioning

/// Takes an `aws-chunked` body apart as it arrives: sizes, data, signatures, trailers.
///
///     hex size [;chunk-signature=…] \r\n data \r\n … 0 [;chunk-signature=…] \r\n [name:value \r\n …] \r\n
///
/// Source: Amazon S3 API reference, "Signature calculations for the authorization header: transferring payload in
/// chunks".
struct ChunkedBody {
    /// What signatures of chunks are checked with.
    struct Signing {
        let key: [UInt8]
        let time: String
        let scope: SigV4.Scope
        /// The signature of the request, then of each chunk in turn.
        var previous: String
    }

    private enum State { case size, data, dataEnd, trailers, done }
    private var state = State.size
    private var line: [UInt8] = []
    private var remaining: Int64 = 0
    private var signing: Signing?
    private var announced = ""
    private var chunkHash: HashBox
    private var trailerText: [UInt8] = []
    /// Trailing headers, names in lower case.
    private(set) var trailers: [(name: String, value: String)] = []
    /// The last chunk and the trailers are in.
    var isComplete: Bool { state == .done }

    private final class HashBox {
        var hash = Hash(.sha256)
    }

    /// A line longer than this is no line of a chunked body; trailers are a checksum or two, and a signature.
    private static let longestLine = 8192, mostTrailers = 16

    /// - Parameter signing: nil if chunks are not signed.
    init(signing: Signing?) {
        self.signing = signing
        chunkHash = HashBox()
    }

    /// Hands the data to `take`.
    mutating func feed(_ bytes: UnsafeRawBufferPointer, _ take: (UnsafeRawBufferPointer) throws -> Void) throws {
        var position = 0
        while position < bytes.count {
            if state == .data {
                let count = Int(min(remaining, Int64(bytes.count - position)))
                let piece = unsafe UnsafeRawBufferPointer(rebasing: bytes[position..<position + count])
                if signing != nil { unsafe chunkHash.hash.update(piece) }
                unsafe try take(piece)
                position += count
                remaining -= Int64(count)
                if remaining == 0 { state = .dataEnd }
                continue
            }
            guard state != .done else { return }  // Whatever follows the end is nobody's.
            let byte = unsafe bytes[position]
            position += 1
            guard byte == 0x0a else {
                line.append(byte)
                guard line.count <= Self.longestLine else { throw Self.malformed }
                continue
            }
            if line.last == 0x0d { line.removeLast() }
            let text = String(decoding: line, as: UTF8.self)
            line.removeAll(keepingCapacity: true)
            try takeLine(text)
        }
    }

    private static let malformed = S3Error(400, "InvalidRequest", "The aws-chunked body is malformed.")

    private mutating func takeLine(_ line: String) throws {
        switch state {
        case .size:
            let parts = line.split(separator: ";", maxSplits: 1)
            // Digits alone: numbers of Swift may have a sign.
            guard let first = parts.first,
                first.utf8.allSatisfy({ ($0 >= 48 && $0 <= 57) || ($0 | 0x20 >= 97 && $0 | 0x20 <= 102) }),
                let size = Int64(first, radix: 16)
            else { throw Self.malformed }
            if signing != nil {
                guard parts.count == 2, parts[1].hasPrefix("chunk-signature=") else {
                    throw S3Error.signatureDoesNotMatch
                }
                announced = String(parts[1].dropFirst("chunk-signature=".count))
            }
            remaining = size
            if size > 0 {
                state = .data
            } else {
                try checkChunk()
                state = .trailers
            }
        case .dataEnd:
            guard line.isEmpty else { throw Self.malformed }
            try checkChunk()
            state = .size
        case .trailers:
            if line.isEmpty {
                state = .done
                return
            }
            guard trailers.count < Self.mostTrailers, let colon = line.firstIndex(of: ":") else { throw Self.malformed }
            let name = line[..<colon].lowercased()
            let value = String(line[line.index(after: colon)...].drop { $0 == " " })
            if name == "x-amz-trailer-signature" {
                guard let signing else { return }
                let hash = Hex.text(Hash.digest(.sha256, trailerText))
                guard
                    SigV4.trailerSignature(
                        key: signing.key, time: signing.time, scope: signing.scope, previous: signing.previous,
                        trailerHash: hash) == value
                else { throw S3Error.signatureDoesNotMatch }
                return
            }
            trailerText += Array("\(name):\(value)\n".utf8)
            trailers.append((name, value))
        case .data, .done: break
        }
    }

    private mutating func checkChunk() throws {
        guard var signing else { return }
        let hash = Hex.text(chunkHash.hash.finish())
        let expected = SigV4.chunkSignature(
            key: signing.key, time: signing.time, scope: signing.scope, previous: signing.previous, chunkHash: hash)
        guard isEqualInConstantTime(Array(expected.utf8), Array(announced.utf8)) else {
            throw S3Error.signatureDoesNotMatch
        }
        signing.previous = expected
        self.signing = signing
    }
}
