import Foundations
import LakeAPI
import Transport
import Versioning

/// Setting up, signing in and out.
enum LoginPages {
    static let routes: [WebRoute] = [
        .part("start", "/", needsLogin: false) { visit in
            visit.web.redirect(Link([try visit.rest.access.isSetUp() ? "repositories" : "setup"]))
        },
        .page("setup", "/setup", needsLogin: false) { visit in
            guard try !visit.rest.access.isSetUp() else {
                throw PageError(404, "This lake is set up already: sign in.")
            }
            return setup()
        },
        .form("setup", "/setup", needsLogin: false) { visit in try Layout.response(setUp(visit), visit) },
        .page("login", "/login", needsLogin: false) { visit in login(visit) },
        .part("login", "/auth/login", needsLogin: false) { visit in
            visit.web.redirect(Link(["login"], ["next": visit.text("next").map { Key($0) }]))
        },
        .login("login", "/login") { web, request, form, answer in signIn(web, request, form, answer) },
        .part("oneTimeLink", "/login/once", needsLogin: false) { visit in
            // Whoever only looks what is there, as a preview of a link does, or a page that takes it for a picture, is not
            // let in.
            guard visit.request.method == "GET", ["document", nil].contains(visit.request.header("sec-fetch-dest"))
            else {
                throw PageError(403, "This link is to be opened in a browser.")
            }
            do {
                let made = try visit.rest.login.letIn(bySecret: visit.text("secret") ?? "")
                visit.request.note.operation = .rest(.login)
                visit.request.note.user = made.user
                var response = visit.web.redirect(Link(["repositories"]))
                response.headers.append(visit.rest.login.cookie(made.token))
                return response
            } catch let error as LakeError where error.code == .unauthenticated {
                throw PageError(
                    403,
                    "This link was used already, or is older than \(Login.linkSeconds / 60) minutes: sign in with a key pair, or have a new link made."
                )
            }
        },
    ]

    private static func setup(_ failure: String? = nil) -> WebPage {
        WebPage(
            "Set up",
            """
            <section class="card narrow"><h1>A new lake</h1><p>Name the first user, who may do everything. Its key pair is shown once.</p>\(failed(failure))
            <form method="post" action="/setup"><label>User name <input name="username" value="admin" required maxlength="255" autocomplete="username"></label>
            <button class="primary">Set up</button></form></section>
            """)
    }

    private static func failed(_ text: String?) -> HTML? {
        text.map { "<p class=\"error\" role=\"alert\" id=\"error\"><span class=\"reason\">\($0)</span></p>" }
    }

    private static func setUp(_ visit: Visit) throws -> WebPage {
        let made: API.CredentialsWithSecret
        do {
            made = try visit.get(.setup, body: API.Setup(username: visit.field("username")))
        } catch let error as PageError { return setup(error.message) }
        return WebPage(
            "Set up",
            """
            <section class="card narrow"><h1>Keep this key pair</h1><p>It opens every door: this page, S3, REST and the command line. The secret is not shown again.</p>
            <dl class="addresses">\(Show.copied("Access key id", made.accessKeyId))\(Show.copied("Secret access key", made.secretAccessKey))</dl>
            <p><a class="button primary" href="/login">Sign in</a></p></section>
            """)
    }

    /// A place of ours to go on to; anything else is somebody's trap.
    private static func place(_ next: String?) -> String {
        guard let next, next.hasPrefix("/"), !next.hasPrefix("//"),
            next.utf8.allSatisfy({ $0 > 0x20 && $0 != 0x7f && $0 != 0x5c })
        else { return "/repositories" }
        return next
    }

    private static func login(_ visit: Visit, failure: String? = nil, next: String? = nil) -> WebPage {
        let isOpenID = visit.rest.externalLogins?.openID != nil
        let next = next ?? visit.text("next")
        return WebPage(
            "Sign in",
            """
            <section class="card narrow"><h1>Sign in</h1>\(failed(failure))
            <form method="post" action="/login"><input type="hidden" name="next" value="\(place(next))">
            <label>Access key id <input name="access_key_id" required autocomplete="username" spellcheck="false" autocapitalize="off"></label>
            <label>Secret access key <input name="secret_access_key" type="password" required autocomplete="current-password"></label>
            <button class="primary">Sign in</button></form>
            \(isOpenID ? "<p><a class=\"button\" href=\"\(REST.openIDStart)\">Sign in with your organisation</a></p>" as HTML : nil)</section>
            """)
    }

    private static func signIn(
        _ web: WebUI, _ request: Request, _ form: [QueryItem], _ answer: @escaping @Sendable (Response) -> Void
    ) {
        let body = API.LoginInformation(
            accessKeyId: form.value("access_key_id") ?? "", secretAccessKey: form.value("secret_access_key") ?? "")
        let next = form.value("next")
        @Sendable func told(_ inner: Response) {
            request.note.operation = .rest(.login)
            guard inner.status == 200 else {
                let visit = Visit(request: request, web: web, caller: Caller(""), names: [], query: [])
                let reason = inner.status == 401 ? web.rest.settings.loginFailedMessage : PageError(inner).message
                var response = Layout.response(login(visit, failure: reason, next: next), visit)
                response.status = inner.status == 401 ? 403 : inner.status
                return answer(response)
            }
            request.note.user = body.accessKeyId
            answer(
                Response(
                    status: 303,
                    headers: [("Location", place(next))] + inner.headers.filter { $0.name == "Set-Cookie" }))
        }
        do {
            let bytes = Coding.encode(body)
            let call = try web.rest.call(
                .login, [], [], body: bytes, for: Caller("", from: request.peer?.address), request)
            guard case .body(let sink) = try web.rest.begin(call) else { preconditionFailure("a login has a body") }
            unsafe try bytes.withUnsafeBytes { unsafe try sink.receive($0) }
            if !sink.finishSoon(told) { told(sink.finish()) }
        } catch { told(Response(error)) }
    }
}
