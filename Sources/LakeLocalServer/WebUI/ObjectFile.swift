import Foundations
import Glibc
import LakeAPI
import Versioning

/// An object that a page shows: read by ranges, never the whole of a large one.
struct ObjectFile: Sendable {
    let path: Key
    let entry: Entry
    private let location: ObjectLocation
    private let objects: any ObjectStore

    /// What an object is shown as.
    enum Kind: Sendable {
        case text, markdown, notebook, image, pdf, video, delimited, lines, parquet, map, binary
    }

    /// - Throws: `.permissionDenied`.
    init(_ path: Key, _ entry: Entry, in repository: Repository, _ visit: Visit) throws {
        try visit.require(.object("ReadObject", repository.id, path))
        self.path = path
        self.entry = entry
        location = try entry.location(in: repository.namespace)
        objects = visit.catalog.objects
    }

    /// The object of a ref; nil if there is none.
    static func find(_ path: Key, at ref: String, _ visit: Visit) throws -> ObjectFile? {
        try visit.require(.object("ReadObject", visit.repository, path))
        let resolved = try visit.catalog.resolve(ref, in: visit.repository)
        return try visit.catalog.find(path, at: resolved).map {
            try ObjectFile(path, $0, in: resolved.repository, visit)
        }
    }

    var size: Int64 { entry.size }

    /// - Throws: `.dataGone` if fewer are there.
    func bytes(_ range: Range<Int64>) throws -> [UInt8] {
        let range = range.clamped(to: 0..<size)
        guard !range.isEmpty else { return [] }
        do {
            let bytes = try objects.read(location, range)
            guard bytes.count == range.upperBound - range.lowerBound else {
                throw LakeError(.dataGone, "the data of \(path) is shorter than its entry says")
            }
            return bytes
        } catch let error as StoreError where error.code == .notFound {
            throw LakeError(.dataGone, "the data of \(path) is not where its entry says", cause: error)
        }
    }

    /// Bytes of an object that is brought here to be a file.
    private static let mostFetched: Int64 = 256 << 20
    /// Milliseconds that this may take.
    private static let longestFetch: Int64 = 20_000

    /// What `body` makes of the object as an open file: its own where it is one, else a copy that goes with it.
    /// - Throws: `.invalidValue` if it is too large to be copied here.
    func asFile<Result>(_ body: (Int32) throws -> Result) throws -> Result {
        if let piece = try objects.file(location) {
            defer { close(piece.descriptor) }
            return try body(piece.descriptor)
        }
        guard size <= Self.mostFetched else {
            throw LakeError(
                .invalidValue,
                "\(path) has \(Show.sizeText(size)) in a store behind a network: up to \(Show.sizeText(Self.mostFetched)) are brought here"
            )
        }
        let noRoom = LakeError(.unavailable, "there is no room in /var/tmp for \(path)")
        let descriptor = openNamelessFile(in: "/var/tmp")
        guard descriptor >= 0 else { throw noRoom }
        defer { close(descriptor) }
        let started = Timestamp.monotonicMilliseconds()
        for start in stride(from: 0, to: size, by: 8 << 20) {
            guard Timestamp.monotonicMilliseconds() - started < Self.longestFetch else {
                throw LakeError(.unavailable, "\(path) does not come within \(Self.longestFetch / 1000) seconds")
            }
            let isWritten = unsafe try bytes(start..<start + 8 << 20).withUnsafeBytes {
                unsafe writeWhole($0, to: descriptor, at: start)
            }
            guard isWritten else { throw noRoom }
        }
        return try body(descriptor)
    }

    /// The name behind the last slash, and what comes behind its last dot.
    var name: String { String(decoding: path.bytes.split(separator: 0x2f).last ?? [], as: UTF8.self) }
    private var suffix: String { name.split(separator: ".").dropFirst().last.map { $0.lowercased() } ?? "" }
    var language: String { suffix }

    /// By its name, and where that says nothing by its first bytes.
    func kind() throws -> Kind {
        switch suffix {
        case "md", "markdown": return .markdown
        case "ipynb": return .notebook
        case "png", "jpg", "jpeg", "gif", "webp", "svg", "avif", "ico", "bmp": return .image
        case "pdf": return .pdf
        case "mp4", "webm": return .video
        case "csv", "tsv", "tab", "psv": return .delimited
        case "jsonl", "ndjson": return .lines
        case "parquet", "pq": return .parquet
        case "geojson": return .map
        default: break
        }
        switch entry.contentType {
        case "text/csv": return .delimited
        case "text/markdown": return .markdown
        case "image/png", "image/jpeg", "image/gif", "image/webp", "image/svg+xml": return .image
        default: break
        }
        let head = try bytes(0..<4096)
        if head.starts(with: "PAR1".utf8) { return .parquet }
        return Self.isText(head[...], isWhole: size <= 4096) ? .text : .binary
    }

    /// Lines of a text, however they end. Behind the last one's end there is none.
    static func lines(_ text: String) -> [Substring] {
        var lines = text.split(omittingEmptySubsequences: false) { $0 == "\n" || $0 == "\r\n" }
        if lines.last?.isEmpty == true { lines.removeLast() }
        return lines
    }

    /// Whether bytes are UTF-8 without control characters but those of text; a last character may be cut.
    static func isText(_ bytes: ArraySlice<UInt8>, isWhole: Bool) -> Bool {
        if bytes.contains(where: { $0 < 0x20 && $0 != 0x09 && $0 != 0x0a && $0 != 0x0d && $0 != 0x0c && $0 != 0x1b }) {
            return false
        }
        for cut in 0...(isWhole ? 0 : min(3, bytes.count))
        where String(validating: bytes.dropLast(cut), as: UTF8.self) != nil {
            return true
        }
        return false
    }
}
