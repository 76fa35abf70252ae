import Foundations
import Versioning

/// Where the next page of a listing begins, as text that clients hand back. The last path of a page would do, if paths
/// were text: those that are not UTF-8 are told in base64 behind a mark, or a client that hands back what it was shown
/// would begin elsewhere, and perhaps never end.
enum PageToken {
    private static let mark = Array("lakefuse-key:".utf8)

    /// A token of our own form.
    private static func opaque(_ path: Key) -> String {
        String(decoding: mark, as: UTF8.self) + Base64.encodeURL(path.bytes)
    }

    /// The path itself where it is text that XML can hold, as lakeFS and S3 do it, and cannot be taken for a token.
    static func text(_ path: Key) -> String {
        guard !path.hasPrefix(Key(mark)), let text = String(validating: path.bytes, as: UTF8.self),
            !text.unicodeScalars.contains(where: { $0.value < 0x20 || $0.value & 0xfffe == 0xfffe })
        else { return opaque(path) }
        return text
    }

    /// What a client handed back, or a path of its own.
    static func key(_ given: Key) -> Key {
        guard given.hasPrefix(Key(mark)),
            let bytes = Base64.decode(String(decoding: given.bytes.dropFirst(mark.count), as: UTF8.self))
        else { return given }
        return Key(bytes)
    }
}
