import CMarkdown
import Foundations
import Glibc

/// Markdown as people write it for GitHub, by Debian's cmark-gfm in its safe mode: HTML in it and addresses that run
/// something are left out. Source: cmark-gfm.h, `CMARK_OPT_UNSAFE`.
enum Markdown {
    private static let extensions: [StaticString] = ["table", "strikethrough", "autolink", "tagfilter", "tasklist"]
    private static let isReady: Void = cmark_gfm_core_extensions_ensure_registered()

    static func html(_ text: [UInt8]) -> HTML {
        isReady
        guard let parser = unsafe cmark_parser_new(CMARK_OPT_VALIDATE_UTF8) else { return "\(String(decoding: text, as: UTF8.self))" }
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
        guard
            let html = unsafe cmark_render_html(
                document, CMARK_OPT_DEFAULT, cmark_parser_get_syntax_extensions(parser))
        else { return "" }
        defer { unsafe free(html) }
        return unsafe HTML(rendered: Array(UnsafeRawBufferPointer(start: html, count: strlen(html))))
    }
}
