import Foundations
import Versioning

/// What may be said of an object. Of S3's door the bounds are S3's (Amazon S3 user guide, "Object metadata"); lakeFS
/// was seen to take four thousand bytes of metadata over REST.
enum ObjectBounds {
    /// Bytes of names and values of user metadata.
    static let s3Metadata = 2048, metadata = 8192
    /// Bytes of one header that is kept, and of a checksum.
    static let header = 1024, checksum = 256

    /// - Throws: `.invalidValue`, naming what is too large, or holds characters that no header can have.
    static func check(metadata given: [String: String]? = nil, contentType: String? = nil, checksum: String? = nil)
        throws
    {
        // What mounts keep of a file is none of its user's.
        let size = (given ?? [:]).reduce(0) {
            $1.key.hasPrefix("::lakefuse::") ? $0 : $0 + $1.key.utf8.count + $1.value.utf8.count
        }
        guard size <= metadata else {
            throw LakeError(
                .invalidValue,
                "the metadata of an object may have \(metadata) bytes, names and values: these have \(size)")
        }
        try check("content_type", contentType, header)
        try check("checksum", checksum, self.checksum)
    }

    private static func check(_ name: String, _ value: String?, _ most: Int) throws {
        guard let value else { return }
        guard value.utf8.count <= most, !value.utf8.contains(where: { $0 < 0x20 || $0 == 0x7f }) else {
            throw LakeError(
                .invalidValue,
                "\(name) '\(value.prefix(80))' is longer than \(most) bytes, or holds a control character")
        }
    }
}
