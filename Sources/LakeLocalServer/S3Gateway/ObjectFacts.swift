import Foundations
import Transport
import Versioning

/// What S3 keeps of an object beside what lakeFS does. It lives in the entry's metadata, under names of ours that no
/// header can have and that lakeFS passes through (`docs/lakefs-formats.md` 11).
enum ObjectFacts {
    static let prefix = "::lakefuse::"
    private static let storageClassKey = prefix + "Storage-Class", tagsKey = prefix + "Tags"
    private static let redirectKey = prefix + "Website-Redirect-Location"
    static let redirectHeader = "x-amz-website-redirect-location"

    /// Headers that an object keeps for whoever reads it, beside its type.
    private static let headers = [
        "Cache-Control", "Content-Disposition", "Content-Encoding", "Content-Language", "Expires",
    ]
    /// What an object was stored with, as headers: those that it keeps, and user metadata with names in lower case.
    static func headers(_ metadata: Metadata) -> [(name: String, value: String)] {
        var found: [(name: String, value: String)] = []
        for pair in metadata.pairs {
            let whole = String(decoding: pair.key, as: UTF8.self)
            let value = EncodedWord.encode(String(decoding: pair.value, as: UTF8.self))
            if whole.hasPrefix(prefix) {
                switch whole {
                case storageClassKey: found.append(("x-amz-storage-class", value))
                case redirectKey: found.append((redirectHeader, value))
                case tagsKey:
                    let count = tags(metadata).count
                    if count > 0 { found.append(("x-amz-tagging-count", "\(count)")) }
                default:
                    let name = String(whole.dropFirst(prefix.count))
                    if headers.contains(name) { found.append((name, value)) }
                }
                continue
            }
            let name = whole.lowercased()
            guard !name.hasPrefix("::lakefs::"), name.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7f && $0 != 0x3a }) else {
                continue
            }
            found.append((name.hasPrefix("x-amz-meta-") ? name : "x-amz-meta-" + name, value))
        }
        return found
    }

    /// User metadata of a request, stored under lakeFS's spelling (`lakefs-formats.md` 3.2), and all that is kept.
    static func metadata(of request: Request) throws -> Metadata {
        var metadata = Metadata()
        var size = 0
        for header in request.headers where header.name.hasPrefix("x-amz-meta-") {
            let name = header.name.dropFirst("x-amz-meta-".count)
            size += name.utf8.count + header.value.utf8.count
            metadata["X-Amz-Meta-" + name] = EncodedWord.decode(header.value)
        }
        guard size <= ObjectBounds.s3Metadata else {
            throw S3Error(
                400, "MetadataTooLarge", "Your metadata headers exceed the maximum allowed metadata size")
        }
        func value(_ name: String) throws -> String? {
            guard let value = request.header(name.lowercased()), !value.isEmpty else { return nil }
            guard value.utf8.count <= ObjectBounds.header else {
                throw S3Error.invalidArgument("\(name) is longer than \(ObjectBounds.header) bytes")
            }
            return value
        }
        for name in headers {
            guard var value = try value(name) else { continue }
            // How a body came is not how it is (Amazon S3 API reference, "Signature calculations: chunked upload").
            if name == "Content-Encoding" {
                value = value.split(separator: ",").map { $0.drop { $0 == " " } }
                    .filter { $0.lowercased().prefix { $0 != " " } != "aws-chunked" }.joined(separator: ", ")
            }
            if !value.isEmpty { metadata[prefix + name] = value }
        }
        if let location = try value(redirectHeader) {
            guard location.hasPrefix("/") || location.hasPrefix("http://") || location.hasPrefix("https://") else {
                throw S3Error(
                    400, "InvalidRedirectLocation",
                    "The website redirect location must have a prefix of 'http://' or 'https://' or '/'.")
            }
            metadata[redirectKey] = location
        }
        if let name = try value("x-amz-storage-class"), name != standardClass {
            guard storageClasses.contains(name) else {
                throw S3Error(400, "InvalidStorageClass", "The storage class you specified is not valid")
            }
            metadata[storageClassKey] = name
        }
        if let text = request.header("x-amz-tagging"), !text.isEmpty {
            set(try tags(ofHeader: text), in: &metadata)
        }
        return metadata
    }

    /// The metadata of a copy.
    /// - Parameters:
    ///   - request: asks for it.
    ///   - own: what the request has of its own, which is taken instead where it says so.
    static func metadata(ofCopy request: Request, own: Metadata, from source: Metadata) -> Metadata {
        let replaces = request.header("x-amz-metadata-directive")?.uppercased() == "REPLACE"
        var result = replaces ? own : source
        result[storageClassKey] = own[storageClassKey]
        let replacesTags = request.header("x-amz-tagging-directive")?.uppercased() == "REPLACE"
        result[tagsKey] = replacesTags ? own[tagsKey] : source[tagsKey]
        result[contentKey] = source[contentKey]
        return result
    }

    // MARK: storage class

    static let standardClass = "STANDARD"
    /// Names that are kept and told; all objects are stored alike.
    private static let storageClasses: Set<String> = [
        "REDUCED_REDUNDANCY", "STANDARD_IA", "ONEZONE_IA", "INTELLIGENT_TIERING", "GLACIER", "DEEP_ARCHIVE", "OUTPOSTS",
        "GLACIER_IR", "SNOW", "EXPRESS_ONEZONE",
    ]

    static func storageClass(_ metadata: Metadata) -> String { metadata[storageClassKey] ?? standardClass }

    // MARK: tags

    typealias Tag = (key: String, value: String)
    private static let mostTags = 10, longestTagKey = 128, longestTagValue = 256

    static func tags(_ metadata: Metadata) -> [Tag] {
        metadata[tagsKey].map { URIEncoding.query($0, plusIsSpace: false).map { ($0.name, $0.value) } } ?? []
    }

    static func set(_ tags: [Tag], in metadata: inout Metadata) {
        let text = URIEncoding.query(of: tags.map { ($0.key, $0.value) })
        metadata[tagsKey] = text.isEmpty ? nil : text
    }

    static func tags(ofHeader text: String) throws -> [Tag] {
        try checked(URIEncoding.query(text, plusIsSpace: true).map { ($0.name, $0.value) })
    }

    static func tags(ofDocument bytes: [UInt8]) throws -> [Tag] {
        guard let root = XMLElement.parse(bytes), root.name == "Tagging", let set = root.first("TagSet") else {
            throw S3Error.malformedXML
        }
        return try checked(
            set.all("Tag").map { tag in
                guard let key = tag.value("Key"), let value = tag.value("Value") else { throw S3Error.malformedXML }
                return (key, value)
            })
    }

    private static func checked(_ tags: [Tag]) throws -> [Tag] {
        guard tags.count <= mostTags else {
            throw S3Error(400, "BadRequest", "Object tags cannot be greater than \(mostTags)")
        }
        for tag in tags {
            guard !tag.key.isEmpty, tag.key.utf16.count <= longestTagKey, !tag.key.hasPrefix("aws:"),
                tag.key.unicodeScalars.allSatisfy({ $0.value >= 0x20 })
            else { throw S3Error(400, "InvalidTag", "The TagKey you have provided is invalid") }
            guard tag.value.utf16.count <= longestTagValue, tag.value.unicodeScalars.allSatisfy({ $0.value >= 0x20 })
            else { throw S3Error(400, "InvalidTag", "The TagValue you have provided is invalid") }
        }
        guard Set(tags.map { Array($0.key.utf8) }).count == tags.count else {
            throw S3Error(400, "InvalidTag", "Cannot provide multiple Tags with the same key")
        }
        return tags
    }

    // MARK: what its bytes are

    private static let contentKey = prefix + "Content"

    /// What is known of an object's bytes: stored with the entity tag of the bytes that it is about, so that it ends
    /// with them, whoever writes the entry anew.
    struct Content: Equatable {
        var checksum: S3Checksum.Value?
        /// Sizes of the parts that it was joined from; none for one that was not.
        var parts: [Int64] = []
        /// Their checksums; none if they had none, or are too many to be kept.
        var partChecksums: [String] = []

        /// Runs of equal sizes as one: `5242880x3,17`.
        fileprivate var text: String {
            var runs: [(size: Int64, count: Int)] = []
            for size in parts {
                if runs.last?.size == size {
                    runs[runs.count - 1].count += 1
                } else {
                    runs.append((size, 1))
                }
            }
            let sizes = runs.map { $0.count == 1 ? "\($0.size)" : "\($0.size)x\($0.count)" }.joined(separator: ",")
            return (checksum?.stored ?? "") + ";" + sizes
                + (partChecksums.isEmpty ? "" : ";" + partChecksums.joined(separator: ","))
        }

        /// Headers for who asks for checksums.
        /// - Parameter part: the number of the part that is asked for; nil for the whole object.
        func checksumHeaders(for request: Request, part: Int? = nil) -> [(name: String, value: String)] {
            guard request.header("range") == nil, request.header("x-amz-checksum-mode")?.uppercased() == "ENABLED",
                let checksum
            else { return [] }
            var value: String? = checksum.text
            if let part, !parts.isEmpty {
                value = partChecksums.indices.contains(part - 1) ? partChecksums[part - 1] : nil
            }
            return (value.map { [(checksum.algorithm.header, $0)] } ?? []) + [("x-amz-checksum-type", checksum.type)]
        }

        /// The bytes of a part, counted from one; nil if there is none.
        func range(ofPart number: Int) -> Range<Int64>? {
            guard parts.indices.contains(number - 1) else { return nil }
            let start = parts[..<(number - 1)].reduce(0, +)
            return start..<start + parts[number - 1]
        }
    }

    /// Runs that are kept; parts of more different sizes are forgotten.
    private static let longestContent = 4096

    static func set(_ content: Content, eTag: String, in metadata: inout Metadata) {
        guard content != Content() else { return }
        var text = content.text
        if text.utf8.count > longestContent { text = Content(checksum: content.checksum, parts: content.parts).text }
        if text.utf8.count > longestContent { text = Content(checksum: content.checksum).text }
        metadata[contentKey] = eTag + ";" + text
    }

    static func content(of entry: Entry) -> Content {
        guard let text = entry.metadata[contentKey] else { return Content() }
        let fields = text.split(separator: ";", omittingEmptySubsequences: false)
        guard fields.count == 3 || fields.count == 4, fields[0] == entry.eTag else { return Content() }
        var content = Content()
        content.checksum = S3Checksum.Value(stored: fields[1])
        for run in fields[2].split(separator: ",") {
            let numbers = run.split(separator: "x").compactMap { Int64($0) }
            guard let size = numbers.first, numbers.count <= 2, numbers.last! <= 10_000 || numbers.count == 1 else {
                return Content(checksum: content.checksum)
            }
            content.parts += Array(repeating: size, count: numbers.count == 2 ? Int(numbers[1]) : 1)
        }
        // Of an object that is not these bytes it would be nonsense.
        if content.parts.reduce(0, { $0 &+ $1 }) != entry.size { content.parts = [] }
        if fields.count == 4 {
            let checksums = fields[3].split(separator: ",").map(String.init)
            if checksums.count == content.parts.count { content.partChecksums = checksums }
        }
        return content
    }

    /// Metadata as REST tells it: what only this door understands is left out.
    static func shown(_ metadata: Metadata) -> [String: String] {
        var shown = metadata.dictionary
        shown[contentKey] = nil
        return shown
    }
}
