import CMarkdown
import Foundations
import Glibc

/// Markdown as people write it for GitHub, by Debian's cmark-gfm in its safe mode: HTML in it and addresses that run
/// something are left out. Source: cmark-gfm.h, `CMARK_OPT_UNSAFE`.
enum Markdown {
    private static let extensions: [StaticString] = ["table", "strikethrough", "autolink", "tagfilter", "tasklist"]
    private static let isReady: Void = cmark_gfm_core_extensions_ensure_registered()

    /// Bytes of what is rendered; more is shown as it is.
    static let mostBytes = 64 << 10

    static func html(_ text: [UInt8]) -> HTML {
        isReady
        // Wide tables cost the square of their width.
        guard text.count <= mostBytes,
            !text.split(separator: 0x0a).contains(where: { $0.count > 4096 && $0.contains(0x7c) })
        else { return "<pre>\(String(decoding: text, as: UTF8.self))</pre>" }
        guard let parser = unsafe cmark_parser_new(CMARK_OPT_VALIDATE_UTF8) else {
            return "\(String(decoding: text, as: UTF8.self))"
        }
        defer { unsafe cmark_parser_free(parser) }
        for name in extensions {
            if let found = unsafe cmark_find_syntax_extension(name.utf8Start) {
                unsafe cmark_parser_attach_syntax_extension(parser, found)
            }
        }
        unsafe text.withUnsafeBytes {
            unsafe cmark_parser_feed(parser, $0.baseAddress?.assumingMemoryBound(to: CChar.self), $0.count)
        }
        guard let document = unsafe cmark_parser_finish(parser) else { return "" }
        defer { unsafe cmark_node_free(document) }
        unsafe dropPictures(document)
        guard
            let html = unsafe cmark_render_html(
                document, CMARK_OPT_DEFAULT, cmark_parser_get_syntax_extensions(parser))
        else { return "" }
        defer { unsafe free(html) }
        return unsafe HTML(rendered: Array(UnsafeRawBufferPointer(start: html, count: strlen(html))))
    }

    /// Leaves the words of pictures that lie elsewhere: to ask for one is to do something in the reader's name.
    private static func dropPictures(_ document: OpaquePointer) {
        let iterator = unsafe cmark_iter_new(document)
        defer { unsafe cmark_iter_free(iterator) }
        while unsafe cmark_iter_next(iterator) != CMARK_EVENT_DONE {
            let node = unsafe cmark_iter_get_node(iterator)
            guard unsafe cmark_node_get_type(node) == CMARK_NODE_IMAGE, let url = unsafe cmark_node_get_url(node),
                unsafe !String(cString: url).hasPrefix("data:image/")
            else { continue }
            unsafe cmark_node_set_url(node, "")
        }
    }
}
