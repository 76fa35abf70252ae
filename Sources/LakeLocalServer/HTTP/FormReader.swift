import Foundations

/// Reads parts of a `multipart/form-data` body as it arrives (RFC 7578): a value that is fed, no bytes kept beyond a
/// boundary's length.
struct FormReader {
    /// A part that begins.
    struct Part {
        let name: String
        /// The name of the file that a browser sends; nil for a part that is none.
        let fileName: String?
        let contentType: String?
    }

    private enum State { case preamble, headers, begin, content, skipping, done }
    /// `\r\n--boundary`
    private let delimiter: [UInt8]
    private var state = State.preamble
    private var pending: [UInt8] = Array("\r\n".utf8)  // The first boundary has no line before it.
    /// The part that begins is one that is asked for.
    private var isWantedPart = false
    /// How much of a part's headers was searched for their end already, so that small pieces cost no more than large ones.
    private var searchedHeaders = 0

    /// A part that was asked for was there, and the end of the last one too.
    private(set) var isComplete = false

    /// Headers of a part larger than this are refused.
    private static let largestHeaders = 16384

    /// Nil if the content type names no boundary.
    init?(contentType: String) {
        guard let mark = contentType.firstRange(of: "boundary=") else { return nil }
        var boundary = contentType[mark.upperBound...].prefix { $0 != ";" }
        if boundary.hasPrefix("\"") { boundary = boundary.dropFirst().prefix { $0 != "\"" } }
        guard !boundary.isEmpty else { return nil }
        delimiter = Array("\r\n--\(boundary)".utf8)
    }

    private static func firstIndex(of wanted: [UInt8], in bytes: [UInt8], from start: Int = 0) -> Int? {
        guard bytes.count >= wanted.count else { return nil }
        var position = start
        let last = bytes.count - wanted.count
        while position <= last {
            guard let next = bytes[position...last].firstIndex(of: wanted[0]) else { return nil }
            if bytes[next..<next + wanted.count].elementsEqual(wanted) { return next }
            position = next + 1
        }
        return nil
    }

    /// - Parameters:
    ///   - wants: is asked for each part that begins.
    ///   - take: gets the bytes of those that are wanted.
    mutating func feed(
        _ piece: UnsafeRawBufferPointer, wants: (Part) throws -> Bool, _ take: (UnsafeRawBufferPointer) throws -> Void
    ) throws {
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
                guard let end = Self.firstIndex(of: [0x0d, 0x0a, 0x0d, 0x0a], in: pending, from: searchedHeaders) else {
                    searchedHeaders = max(0, pending.count - 3)
                    // The same bound whether they came whole or in pieces: their end may have begun.
                    if pending.count - 3 > Self.largestHeaders { state = .done }
                    return
                }
                guard end <= Self.largestHeaders else {
                    state = .done
                    return
                }
                searchedHeaders = 0
                let text = String(decoding: pending[..<end], as: UTF8.self)
                pending.removeFirst(end + 2)  // The line break behind them may begin the next boundary.
                isWantedPart = try wants(Self.part(text))
                if isWantedPart { isComplete = false }
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

    private static func part(_ headers: String) -> Part {
        var type: String?
        for line in headers.split(whereSeparator: \.isNewline) where line.lowercased().hasPrefix("content-type:") {
            type = String(line.dropFirst(13).drop { $0 == " " })
        }
        return Part(
            name: parameter("name", of: headers) ?? "", fileName: parameter("filename", of: headers), contentType: type)
    }

    /// A quoted parameter of a part's headers.
    private static func parameter(_ name: String, of headers: String) -> String? {
        var rest = headers[...]
        while let mark = rest.firstRange(of: "\(name)=\"") {
            let before = mark.lowerBound == headers.startIndex ? " " : headers[headers.index(before: mark.lowerBound)]
            rest = rest[mark.upperBound...]
            // `name` ends `filename` too.
            if before == " " || before == ";" || before == "\t" { return String(rest.prefix { $0 != "\"" }) }
        }
        return nil
    }
}
