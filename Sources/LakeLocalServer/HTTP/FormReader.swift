/// Reads one part of a `multipart/form-data` body as it arrives (RFC 7578): a value that is fed, no bytes kept beyond a
/// boundary's length.
struct FormReader {
    private enum State { case preamble, headers, begin, content, skipping, done }
    private let field: String
    /// `\r\n--boundary`
    private let delimiter: [UInt8]
    private var state = State.preamble
    private var pending: [UInt8] = Array("\r\n".utf8)  // The first boundary has no line before it.
    private var wasFound = false
    /// The part that begins is the one that is asked for.
    private var isWantedPart = false
    /// The part's own content type, if it has one.
    private(set) var partType: String?

    /// The part was there, and its end too.
    private(set) var isComplete = false

    /// Headers of a part larger than this are refused.
    private static let largestHeaders = 16384

    /// Nil if the content type names no boundary.
    init?(contentType: String, field: String) {
        guard let mark = contentType.firstRange(of: "boundary=") else { return nil }
        var boundary = contentType[mark.upperBound...].prefix { $0 != ";" }
        if boundary.hasPrefix("\"") { boundary = boundary.dropFirst().prefix { $0 != "\"" } }
        guard !boundary.isEmpty else { return nil }
        self.field = field
        delimiter = Array("\r\n--\(boundary)".utf8)
    }

    private static func firstIndex(of wanted: [UInt8], in bytes: [UInt8]) -> Int? {
        guard bytes.count >= wanted.count else { return nil }
        var position = 0
        let last = bytes.count - wanted.count
        while position <= last {
            guard let next = bytes[position...last].firstIndex(of: wanted[0]) else { return nil }
            if bytes[next..<next + wanted.count].elementsEqual(wanted) { return next }
            position = next + 1
        }
        return nil
    }

    /// Hands the part's bytes to `take`.
    mutating func feed(_ piece: UnsafeRawBufferPointer, _ take: (UnsafeRawBufferPointer) throws -> Void) throws {
        unsafe pending.append(contentsOf: piece)
        while true {
            switch state {
            case .done:
                pending = []
                return
            case .preamble, .content, .skipping:
                let end = Self.firstIndex(of: delimiter, in: pending)
                // What may be the beginning of a boundary stays.
                let safe = end ?? max(0, pending.count - delimiter.count + 1)
                if state == .content, safe > 0 {
                    unsafe try pending.withUnsafeBytes {
                        unsafe try take(UnsafeRawBufferPointer(rebasing: $0[..<safe]))
                    }
                }
                pending.removeFirst(safe)
                guard end != nil else { return }
                guard pending.count >= delimiter.count + 2 else { return }
                if state == .content { isComplete = true }
                let tail = pending[delimiter.count..<delimiter.count + 2]
                pending.removeFirst(delimiter.count + 2)
                state = tail.elementsEqual([0x2d, 0x2d]) ? .done : .headers
                if state == .headers { pending.insert(contentsOf: [0x0d, 0x0a], at: 0) }
            case .headers:
                guard let end = Self.firstIndex(of: [0x0d, 0x0a, 0x0d, 0x0a], in: pending) else {
                    // The same bound whether they came whole or in pieces: their end may have begun.
                    if pending.count - 3 > Self.largestHeaders { state = .done }
                    return
                }
                guard end <= Self.largestHeaders else {
                    state = .done
                    return
                }
                let text = String(decoding: pending[..<end], as: UTF8.self)
                pending.removeFirst(end + 2)  // The line break behind them may begin the next boundary.
                let isWanted = !wasFound && text.contains("name=\"\(field)\"")
                if isWanted {
                    wasFound = true
                    for line in text.split(whereSeparator: \.isNewline)
                    where line.lowercased().hasPrefix("content-type:") {
                        partType = String(line.dropFirst(13).drop { $0 == " " })
                    }
                }
                isWantedPart = isWanted
                state = .begin
            case .begin:
                // An empty part's boundary follows its headers' last line directly.
                if !pending.starts(with: delimiter) {
                    guard !delimiter.starts(with: pending) else { return }
                    pending.removeFirst(2)
                }
                state = isWantedPart ? .content : .skipping
            }
        }
    }
}
