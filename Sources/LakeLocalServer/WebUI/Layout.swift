import Foundations
import Transport
import Versioning

/// What a page consists of beside its frame.
struct WebPage: Sendable {
    /// The places of a repository, in the order of their tabs.
    enum Tab: String, CaseIterable, Sendable {
        case objects = "Data", changes = "Uncommitted", commits = "Commits", compare = "Compare", branches = "Branches"
        case tags = "Tags", pulls = "Pull requests", actions = "Actions", settings = "Settings"

        var page: String { self == .pulls ? "pulls" : "\(self)" }
    }

    var title: String
    /// Nil for pages of no repository.
    var repository: RepositoryID?
    var tab: Tab?
    /// What one looks at, and keeps from tab to tab.
    var ref: String?
    var content: HTML
    /// A page that lives as long as it is open: what it shows is asked for anew when the branch changes.
    var isLive = false
    /// In which place of the top line one is.
    var place: String?

    /// A page of a repository.
    init(
        _ title: String, _ repository: RepositoryID, _ tab: Tab, ref: String? = nil, isLive: Bool = false,
        _ content: HTML
    ) {
        self.init(title, place: "repositories", content)
        self.repository = repository
        self.tab = tab
        self.ref = ref
        self.isLive = isLive
    }

    /// Any other.
    init(_ title: String, place: String? = nil, _ content: HTML) {
        self.title = title
        self.place = place
        self.content = content
    }
}

/// The frame around every page.
enum Layout {
    /// Carries what has just been done to the next page.
    static let noteCookie = "lakefuse_note"

    /// No script and no style but ours, nothing from elsewhere, in nobody's frame. Source: CSP level 3.
    private static let policy =
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; media-src 'self'; object-src 'self'; frame-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

    static func response(_ page: WebPage, _ visit: Visit) -> Response {
        // What a script asks for is not what somebody reads.
        let isRead = visit.request.header(Visit.part) == nil
        let note = visit.request.cookies(named: noteCookie).first.flatMap {
            isRead ? $0 : nil
        }.map {
            String(decoding: URIEncoding.decode($0), as: UTF8.self)
        }
        var response = Response(
            status: 200,
            headers: [
                ("Content-Type", "text/html; charset=utf-8"), ("Content-Security-Policy", policy),
                ("X-Content-Type-Options", "nosniff"), ("Referrer-Policy", "same-origin"),
                ("Cache-Control", "no-store"),
            ], body: .bytes(document(page, visit, note: note).bytes))
        if note != nil { response.headers.append(("Set-Cookie", "\(noteCookie)=; Path=/; Max-Age=0")) }
        return response
    }

    private static func document(_ page: WebPage, _ visit: Visit, note: String?) -> HTML {
        let live: HTML =
            page.isLive && page.repository != nil
            ? " data-live-from=\"\(Link(page.repository!, "events", query: ["ref": page.ref.map { Key($0) }]))\"" : ""
        return """
            <!doctype html>
            <html lang="en"><head><meta charset="utf-8"><title>\(page.title) · LakeFUSE</title>
            <meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark">
            <link rel="icon" href="\(WebAssets.link("icon.svg"))" type="image/svg+xml"><link rel="stylesheet" href="\(WebAssets.link("style.css"))">
            <script type="module" src="\(WebAssets.link("page.js"))"></script></head>
            <body\(live)><a class="skip" href="#main">Skip to the content</a>
            \(top(page, visit))
            <main id="main" tabindex="-1">\(head(page, visit))<div id="notes" role="status" aria-live="polite">\(note.map { "<p class=\"note\">\($0)</p>" as HTML })</div>\(page.content)</main>
            <footer><p>LakeFUSE · <a href="/openapi.json">API</a> · keys: <kbd>/</kbd> search, <kbd>j</kbd> <kbd>k</kbd> move, <kbd>Enter</kbd> open, <kbd>u</kbd> up</p></footer></body></html>
            """
    }

    private static func top(_ page: WebPage, _ visit: Visit) -> HTML {
        guard !visit.user.isEmpty else {
            return "<header class=\"top\"><a class=\"brand\" href=\"/\">LakeFUSE</a></header>"
        }
        func item(_ place: String, _ name: String, _ link: Link) -> HTML {
            "<li><a href=\"\(link)\"\(" aria-current=\"true\"", if: page.place == place)>\(name)</a></li>"
        }
        return """
            <header class="top"><a class="brand" href="/repositories">LakeFUSE</a><nav aria-label="Places"><ul>\
            \(item("repositories", "Repositories", Link(["repositories"])))\
            \(visit.may(.listMounts) ? item("mounts", "Mounts", Link(["mounts"])) : nil)\
            \(item("auth", "Administration", Link(visit.may(.listUsers) ? ["auth", "users"] : ["auth", "credentials"])))</ul></nav>
            <div class="who"><a href="/auth/credentials">\(Show.name(visit.user))</a> <a href="/logout">Sign out</a></div></header>
            """
    }

    private static func head(_ page: WebPage, _ visit: Visit) -> HTML? {
        guard let repository = page.repository, let tab = page.tab else { return nil }
        let tabs = WebPage.Tab.allCases.map { each -> HTML in
            let keepsRef = ![.branches, .tags, .pulls, .settings, .actions].contains(each)
            let link = Link(repository, each.page, query: ["ref": keepsRef ? page.ref.map { Key($0) } : nil])
            return "<li><a href=\"\(link)\"\(" aria-current=\"page\"", if: each == tab)>\(each.rawValue)</a></li>"
        }
        return """
            <div class="repository"><p class="name"><a href="\(Link(repository, "objects"))">\(repository)</a></p>\
            <nav aria-label="Repository"><ul class="tabs">\(tabs)</ul></nav></div>
            """
    }

    /// A page that says what went wrong, and where to go on.
    static func error(_ error: PageError, _ visit: Visit) -> WebPage {
        let conflicts: HTML? =
            error.conflicts.isEmpty
            ? nil : "<ul>\(error.conflicts.prefix(100).map { "<li><code>\(Show.name($0))</code></li>" as HTML })</ul>"
        let host = visit.request.header("host") ?? ""
        let back = visit.request.header("referer").flatMap { referer in
            ["http://\(host)/", "https://\(host)/"].contains { referer.hasPrefix($0) } ? referer : nil
        }
        return WebPage(
            title(error.status),
            """
            <section class="card narrow error" id="error"><h1>\(title(error.status))</h1><p class="reason">\(error.message)</p>\(conflicts)
            <p>\(hint(error.status))</p><p class="row">\(back.map { "<a class=\"button\" href=\"\($0)\">Back</a>" as HTML }) <a class="button" href="/repositories">Repositories</a></p></section>
            """)
    }

    private static func title(_ status: Int) -> String {
        switch status {
        case 400, 413: "That cannot be done"
        case 403: "You may not do this"
        case 404, 410: "Not there"
        case 409: "In conflict with what is there"
        case 412: "Refused by a check"
        case 501: "Not here"
        case 503: "Not now"
        default: "It failed"
        }
    }

    private static func hint(_ status: Int) -> String {
        switch status {
        case 400: "Mend what the sentence names, and send it again. Nothing was changed."
        case 403: "Ask who administers this lake for the permission that is named. Nothing was changed."
        case 404: "It may have been renamed or deleted while you looked, or the link is of another lake."
        case 409: "Somebody else was there first, or both sides changed the same. Look again, then decide."
        case 412: "A hook of this repository says no. Its log is under Actions. Nothing was changed."
        case 503: "An engine of this server does not answer. It comes back by itself: try again in a moment."
        default: "Nothing was changed. If it happens again, the server's log has the reason."
        }
    }

    // MARK: pieces that many pages have

    /// The hidden field that every form has.
    static func token(_ visit: Visit) -> HTML {
        "<input type=\"hidden\" name=\"form_token\" value=\"\(visit.rest.login.formToken(visit.request))\">"
    }

    /// A form of one button.
    static func button(
        _ label: String, to link: Link, _ visit: Visit, fields: KeyValuePairs<String, String> = [:], kind: String = "",
        asks question: String? = nil
    ) -> HTML {
        let hidden = fields.map { "<input type=\"hidden\" name=\"\($0.key)\" value=\"\($0.value)\">" as HTML }
        let asks: HTML? = question.map { " data-ask=\"\($0)\"" }
        return
            "<form class=\"inline\" method=\"post\" action=\"\(link)\"\(asks)>\(token(visit))\(hidden)<button class=\"\(kind)\">\(label)</button></form>"
    }

    /// The link to the next page of a list, by the key of the last item.
    static func more(_ link: Link, _ hasMore: Bool, _ visit: Visit) -> HTML {
        let isFirst = visit.text("after") == nil
        guard hasMore || !isFirst else { return "" }
        return """
            <nav class="pages" aria-label="Pages">\(isFirst ? nil : "<a href=\"\(Link.first(visit.request))\">First page</a>" as HTML)\
            \(hasMore ? "<a rel=\"next\" href=\"\(link)\">Next page</a>" as HTML : nil)</nav>
            """
    }

    /// A table that scrolls by itself, whose rows are opened by keys.
    /// - Parameter later: where cells are that are loaded when the page is there.
    static func table(_ label: String, _ head: HTML, _ rows: [HTML], later: Link? = nil) -> HTML {
        let from: HTML? = later.map { " data-later=\"\($0)\"" }
        return
            "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"\(label)\"><table data-rows\(from)><thead><tr>\(head)</tr></thead><tbody>\(rows)</tbody></table></div>"
    }

    /// A field that narrows a list by how names begin.
    static func search(_ visit: Visit) -> HTML {
        "<form method=\"get\" class=\"search\" role=\"search\" data-search><label><span class=\"hidden\">Names that begin with</span><input type=\"search\" name=\"prefix\" value=\"\(visit.text("prefix") ?? "")\" placeholder=\"Names that begin with…\"></label></form>"
    }

    static func empty(_ title: String, _ text: HTML) -> HTML {
        "<div class=\"empty\"><h2>\(title)</h2><p>\(text)</p></div>"
    }
}

extension Link {
    /// A page's own address, without where in a list it begins.
    static func first(_ request: Request) -> Link {
        let rest = URIEncoding.query(request.rawQuery, plusIsSpace: true).filter { $0.name != "after" }
        var link = Link(
            request.rawPath.split(separator: "/").map { String(decoding: URIEncoding.decode($0), as: UTF8.self) })
        for item in rest { link = link.with(item.name, Key(item.bytes)) }
        return link
    }
}
