import Foundations
import Glibc
import Versioning

/// An interval of an object that a client asks for (RFC 9110, 14.1).
enum ByteRange: Equatable {
    /// No `Range`, or one that asks for nothing we know.
    case whole
    case part(Range<Int64>)
    case unsatisfiable
    /// Not of the form of a range at all.
    case malformed

    /// - Parameter size: the object's bytes.
    init(_ header: String?, size: Int64) {
        guard let header else {
            self = .whole
            return
        }
        let text = header.last == " " ? String(header.dropLast()) : header
        guard text.hasPrefix("bytes="), text.utf8.count > 6,
            text.utf8.dropFirst(6).allSatisfy({ ($0 >= 48 && $0 <= 57) || $0 == 0x2d || $0 == 0x2c || $0 == 0x20 }),
            text.utf8.contains(0x2d)
        else {
            self = .malformed
            return
        }
        let ends = text.dropFirst(6).split(separator: "-", omittingEmptySubsequences: false)
        guard ends.count == 2, !text.contains(",") else {
            self = text.dropFirst(6).contains(" ") && !text.contains(",") ? .malformed : .unsatisfiable
            return
        }
        guard !text.contains(" ") else {
            self = .malformed
            return
        }
        if ends[0].isEmpty {
            guard let count = Int64(ends[1]), count > 0, size > 0 else {
                self = .unsatisfiable
                return
            }
            self = .part(max(0, size - count)..<size)
            return
        }
        guard let first = Int64(ends[0]), first < size else {
            self = .unsatisfiable
            return
        }
        if ends[1].isEmpty {
            self = .part(first..<size)
            return
        }
        guard let last = Int64(ends[1]), last >= first else {
            self = .unsatisfiable
            return
        }
        self = .part(first..<(last >= size ? size : last + 1))
    }
}

/// What conditional headers say of an object (RFC 9110, section 13).
enum Precheck {
    case proceed, notModified, failed

    init(_ request: Request, eTag: String, modified: Timestamp) {
        if let tags = request.header("if-match") {
            guard Self.tags(tags).contains(where: { $0 == "*" || $0 == eTag }) else {
                self = .failed
                return
            }
        } else if let time = request.header("if-unmodified-since").flatMap({ Timestamp(httpDate: $0) }),
            modified.seconds > time.seconds
        {
            self = .failed
            return
        }
        if let tags = request.header("if-none-match") {
            if Self.tags(tags).contains(where: { $0 == "*" || $0 == eTag }) {
                self = .notModified
                return
            }
        } else if let time = request.header("if-modified-since").flatMap({ Timestamp(httpDate: $0) }),
            modified.seconds <= time.seconds
        {
            self = .notModified
            return
        }
        self = .proceed
    }

    /// Entity tags of a list, without quotes and the mark of weak ones.
    static func tags(_ text: String) -> [String] {
        text.split(separator: ",").map { item in
            var tag = item.drop { $0 == " " }
            if tag.hasPrefix("W/") { tag = tag.dropFirst(2) }
            while tag.last == " " { tag = tag.dropLast() }
            return tag.hasPrefix("\"") && tag.hasSuffix("\"") && tag.count >= 2
                ? String(tag.dropFirst().dropLast()) : String(tag)
        }
    }

    /// What the headers of a write ask for; nil if nothing.
    static func writeCondition(_ request: Request) -> WriteCondition? {
        if let tags = request.header("if-match") { return .matches(self.tags(tags)) }
        guard let tags = request.header("if-none-match").map({ self.tags($0) }) else { return nil }
        return tags == ["*"] ? .absent : .matchesNone(tags)
    }
}

/// The body of an object, or of a part of it.
enum ObjectBody {
    /// Small objects as they were read: they never change, and opening a file costs more than sending it.
    private static let small = SmallObjectCache(budget: 16 << 20)
    /// Bytes of the largest object that is kept.
    private static let largestSmall: Int64 = 16 << 10

    /// Reads an object, and once more from its entry on if its bytes are gone: they go when a newer write has replaced
    /// them.
    /// - Parameter read: is told whether it is the last time.
    static func retrying(_ read: (Bool) throws -> Response) throws -> Response {
        do { return try read(false) } catch let error as LakeError where error.code == .dataGone {
            return try read(true)
        }
    }

    /// - Parameters:
    ///   - entry: what the object is to be; its length is always compared.
    ///   - verifies: whether a whole object is held against its checksum first: it is read twice then.
    /// - Throws: `.dataGone` if the entry is there and its bytes are not, `.corrupt` if they are others.
    static func make(
        _ objects: any ObjectStore, _ entry: Entry, at location: ObjectLocation, _ range: Range<Int64>,
        isHead: Bool = false, verifies: Bool = false
    ) throws -> Response.Body {
        let size = entry.size
        do throws(StoreError) {
            if isHead {
                guard let found = try objects.size(of: location) else { throw StoreError(.notFound, "\(location)") }
                try check(found, entry, location)
                return .announced(range.upperBound - range.lowerBound)
            }
            // What lies outside of the store may change, and is not kept.
            if size <= largestSmall, entry.isRelative {
                if let known = small[location], known.count == size { return part(of: known, range) }
                // One byte more than there should be: so a longer object shows too.
                let whole = try objects.read(location, 0..<size + 1)
                try check(Int64(whole.count), entry, location)
                if verifies { try verify(Hash.digest(.md5, whole), entry, location) }
                small.insert(whole, at: location)
                return part(of: whole, range)
            }
            if let file = try objects.piece(location) {
                do throws(StoreError) {
                    try check(file.byteCount, entry, location)
                    if verifies, range == 0..<size { try verify(try file.md5(), entry, location) }
                } catch {
                    close(file.descriptor)
                    throw error
                }
                return .file(
                    FilePiece(
                        descriptor: file.descriptor, offset: file.offset + range.lowerBound,
                        byteCount: range.upperBound - range.lowerBound))
            }
            if !range.isEmpty, entry.isRelative, objects.capabilities.presigner != nil {
                // Its begin tells that it is there, and is not asked for twice; one that is too short ends early.
                let begin = try objects.read(location, range.lowerBound..<range.lowerBound + 1)
                guard begin.count == 1 else { throw StoreError(.corrupt, "the data at \(location) is too short") }
            } else {
                guard let found = try objects.size(of: location) else { throw StoreError(.notFound, "\(location)") }
                try check(found, entry, location)
            }
            return .stream(byteCount: range.upperBound - range.lowerBound) { offset, count in
                let start = range.lowerBound + offset
                return try objects.read(location, start..<min(start + Int64(count), range.upperBound))
            }
        } catch {
            throw error.code == .notFound
                ? LakeError(.dataGone, "No data: the bytes of this object are gone", cause: error) : LakeError(error)
        }
    }

    /// A stored table, as it is.
    static func make(_ objects: any ObjectStore, tableAt location: ObjectLocation) throws -> Response.Body {
        let size = try objects.size(of: location) ?? 0
        return try make(
            objects, Entry(address: location.path, lastModified: .now(), size: size, eTag: "", contentType: ""),
            at: location, 0..<size)
    }

    private static func part(of whole: [UInt8], _ range: Range<Int64>) -> Response.Body {
        .bytes(range.count == whole.count ? whole : Array(whole[Int(range.lowerBound)..<Int(range.upperBound)]))
    }

    private static func check(_ found: Int64, _ entry: Entry, _ location: ObjectLocation) throws(StoreError) {
        guard found != entry.size else { return }
        // An imported file whose size is another one is another file.
        if location.isOutside { throw StoreError(.notFound, "\(location) changed since it was imported") }
        throw StoreError(
            .corrupt, "the data at \(location) is damaged: it has not the \(entry.size) bytes that its entry says")
    }

    private static func verify(_ md5: [UInt8], _ entry: Entry, _ location: ObjectLocation) throws(StoreError) {
        guard let wanted = entry.contentMD5, wanted != md5 else { return }
        throw StoreError(
            .corrupt, "the data at \(location) is damaged: its checksum is not \(entry.eTag), which its entry says")
    }
}

extension Range<Int64> {
    /// The header that says which bytes of how many a part is (RFC 9110, 14.4).
    func contentRange(of size: Int64) -> (name: String, value: String) {
        ("Content-Range", "bytes \(lowerBound)-\(upperBound - 1)/\(size)")
    }
}
