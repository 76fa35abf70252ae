import CChecksum
import Foundations
import Versioning

/// The style sheet, scripts and pictures of the pages: part of the binary, compressed once, named by what is in them, so that
/// browsers keep them for ever.
enum WebAssets {
    private struct Asset {
        let type: String
        let bytes: [UInt8], compressed: [UInt8]
    }

    private static let files: [String: Asset] = [
        "style.css": asset("text/css; charset=utf-8", PackageResources.style_css),
        "icon.svg": asset("image/svg+xml", PackageResources.icon_svg),
        "page.js": script(PackageResources.page_js), "live.js": script(PackageResources.live_js),
        "keyboard.js": script(PackageResources.keyboard_js), "forms.js": script(PackageResources.forms_js),
        "upload.js": script(PackageResources.upload_js), "later.js": script(PackageResources.later_js),
    ]

    private static func script(_ bytes: [UInt8]) -> Asset { asset("text/javascript; charset=utf-8", bytes) }
    private static func asset(_ type: String, _ bytes: [UInt8]) -> Asset {
        Asset(type: type, bytes: bytes, compressed: gzip(bytes))
    }

    /// The folder that all lie in: modules name each other.
    private static let version = String(
        Hex.text(
            Hash.digest(.sha256, files.sorted { $0.key < $1.key }.flatMap { Array($0.key.utf8) + $0.value.bytes })
        ).prefix(16))

    static func link(_ name: String) -> Link { Link(["assets", version, name]) }

    /// The answer to a request for one; nil for any other request.
    static func answer(_ request: Request) -> Response? {
        guard !request.isWrite, request.rawPath.hasPrefix("/assets/"),
            let name = request.rawPath.split(separator: "/").last,
            let asset = files[String(name)]
        else { return nil }
        let isCompressed = request.header("accept-encoding")?.contains("gzip") == true
        // One of another version: the page was opened before the server was replaced.
        let isCurrent = request.rawPath == link(String(name)).text
        return Response(
            status: 200,
            headers: [
                ("Content-Type", asset.type), ("X-Content-Type-Options", "nosniff"), ("Vary", "Accept-Encoding"),
                ("Cache-Control", isCurrent ? "public, max-age=31536000, immutable" : "no-store"),
            ] + (isCompressed ? [("Content-Encoding", "gzip")] : []),
            body: .bytes(isCompressed ? asset.compressed : asset.bytes))
    }

    /// Source: zlib manual, `deflateInit2`: 16 more than the window's bits is gzip's frame.
    private static func gzip(_ bytes: [UInt8]) -> [UInt8] {
        var stream = unsafe z_stream()
        guard
            unsafe deflateInit2_(
                &stream, Z_BEST_COMPRESSION, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY, ZLIB_VERSION,
                Int32(MemoryLayout<z_stream>.size)) == Z_OK
        else { preconditionFailure("zlib does not start") }
        var input = bytes
        var output = [UInt8](repeating: 0, count: Int(unsafe deflateBound(&stream, uLong(bytes.count))))
        let count = unsafe input.withUnsafeMutableBufferPointer { input in
            unsafe output.withUnsafeMutableBufferPointer { output in
                unsafe stream.next_in = input.baseAddress
                unsafe stream.avail_in = UInt32(input.count)
                unsafe stream.next_out = output.baseAddress
                unsafe stream.avail_out = UInt32(output.count)
                let status = unsafe deflate(&stream, Z_FINISH)
                precondition(status == Z_STREAM_END, "the bound is too small")
                return unsafe Int(stream.total_out)
            }
        }
        unsafe deflateEnd(&stream)
        return Array(output.prefix(count))
    }
}
