import Foundations
import LakeAPI
import Transport
import Versioning

/// The door for people: pages made by the server, which read and change the lake by REST's own calls. Reading works
/// without scripts, and so do forms.
///
///     request → route → Visit (who, what may they) → page (REST's calls → HTML) → Layout
///
/// Names in paths and queries are bytes; what others have stored is shown as text, or from addresses of the REST door,
/// which no browser runs anything from.
package struct WebUI: Door {
    let rest: REST
    let live: LivePages
    let telemetry: Telemetry
    private let routes: [WebRoute]

    package init(rest: REST, live: LivePages, telemetry: Telemetry) {
        self.rest = rest
        self.live = live
        self.telemetry = telemetry
        routes = WebRoute.all
    }

    /// First parts of paths that are pages'; lakeFS's among them, so that its links lead here.
    private static let places: Set<Substring> = [
        "", "repositories", "login", "setup", "mounts", "auth", "assets", "server",
    ]

    package func serves(_ request: Request) -> Bool {
        guard request.rawPath.utf8.first == 0x2f else { return false }
        return Self.places.contains(request.rawPath.dropFirst().prefix { $0 != "/" })
    }

    package func slowDown(_ request: Request) -> Response {
        refusal(request, PageError(503, "The server holds as many bytes of requests as it may. Try again in a moment."))
    }

    package func begin(_ request: Request) -> Reception {
        if let fault = request.fault { return .respond(refusal(request, PageError(400, fault))) }
        if let asset = WebAssets.answer(request) { return .respond(asset) }
        let parts = request.rawPath.dropFirst().split(separator: "/", omittingEmptySubsequences: true).map {
            String(decoding: URIEncoding.decode($0), as: UTF8.self)
        }
        let isHead = request.method == "HEAD"
        let candidates = routes.filter { $0.fits(parts) }
        guard let route = candidates.first(where: { $0.method == (isHead ? "GET" : request.method) }) else {
            let error =
                candidates.isEmpty
                ? PageError(404, "There is no page at \(request.rawPath.prefix(200)).")
                : PageError(405, "The page \(request.rawPath.prefix(200)) cannot be asked for by \(request.method).")
            return .work { refusal(request, error) }
        }
        request.note.operation = .page(route.name)
        let names = zip(route.parts, parts).compactMap { $0 == nil ? $1 : nil }
        guard request.method == "POST" else {
            return .work {
                var response = answer(request, route, names, form: [])
                if isHead, case .bytes(let bytes) = response.body { response.body = .announced(Int64(bytes.count)) }
                return response
            }
        }
        guard isOwn(request) else {
            return .respond(
                refusal(request, PageError(403, "This form was sent by another site's page: nothing was done.")))
        }
        if case .login(let begin) = route.handler {
            return .body(sink(request, .soon { bytes, answer in begin(self, request, Self.form(bytes), answer) }))
        }
        return .body(
            sink(request, isLong: true, .now { bytes in answer(request, route, names, form: Self.form(bytes)) }))
    }

    private func sink(_ request: Request, isLong: Bool = false, _ work: BytesSink.Work) -> BytesSink {
        BytesSink(
            limit: Call.largestMessage,
            tooLarge: refusal(
                request, PageError(413, "What was sent has more than \(Call.largestMessage) bytes: send less.")),
            budget: rest.budget, noMemory: slowDown(request), isLong: isLong, work)
    }

    private static func form(_ bytes: [UInt8]) -> [QueryItem] {
        URIEncoding.query(String(decoding: bytes, as: UTF8.self), plusIsSpace: true)
    }

    /// Whether a form comes from a page of ours, as far as the browser tells (Fetch Metadata; RFC 6454).
    private func isOwn(_ request: Request) -> Bool {
        if let site = request.header("sec-fetch-site") { return site == "same-origin" || site == "none" }
        guard let origin = request.header("origin") else { return true }
        return origin.split(separator: "/", omittingEmptySubsequences: false).last.map(String.init)
            == request.header("host")
    }

    private func answer(_ request: Request, _ route: WebRoute, _ names: [String], form: [QueryItem]) -> Response {
        var user: String?
        do {
            guard try rest.access.isSetUp() || !route.needsLogin else { return redirect(Link(["setup"])) }
            user = try? rest.login.userIfAny(of: request)  // Who shows a session that has ended is let in anew.
            if user == nil, route.needsLogin { throw LakeError(.unauthenticated, "") }
            request.note.user = user ?? ""
            var visit = Visit(
                request: request, web: self, caller: Caller(user ?? "", from: request.peer?.address), names: names,
                query: URIEncoding.query(request.rawQuery, plusIsSpace: true))
            visit.form = form
            if request.isWrite, route.needsLogin, visit.field("form_token") != rest.login.formToken(request) {
                throw PageError(403, "This form is of another session: open its page again, and send it from there.")
            }
            switch route.handler {
            case .page(let make):
                let page = try make(visit)
                return Layout.response(page, visit)
            case .work(let work): return try work(visit)
            case .login: preconditionFailure("a login is begun elsewhere")
            }
        } catch let elsewhere as Elsewhere {
            return redirect(elsewhere.link)
        } catch let error as LakeError where error.code == .unauthenticated {
            // The page comes back after the login; a form's page has to be opened again.
            let next =
                request.isWrite ? nil : request.rawPath + (request.rawQuery.isEmpty ? "" : "?" + request.rawQuery)
            return redirect(Link(["login"], ["next": next.map { Key($0) }]))
        } catch { return refusal(request, PageError(error), user: user) }
    }

    /// A page that says what went wrong.
    func refusal(_ request: Request, _ error: PageError, user: String? = nil) -> Response {
        let visit = Visit(
            request: request, web: self, caller: Caller(user ?? "", from: request.peer?.address), names: [], query: [])
        var response = Layout.response(Layout.error(error, visit), visit)
        response.status = error.status
        if error.status == 503 { response.headers.append(("Retry-After", "1")) }
        return response
    }

    func redirect(_ link: Link) -> Response { Response(status: 303, headers: [("Location", link.text)]) }
}

extension PageError {
    /// What an error of the core means on a page.
    init(_ error: any Error) {
        if let error = error as? PageError {
            self = error
            return
        }
        if let error = error as? MalformedParameter {
            self.init(400, error.description)
            return
        }
        let lake = LakeError(error)
        // 401 would have a browser ask for a password.
        self.init(
            lake.code == .permissionDenied ? 403 : Response.status(of: lake), lake.message,
            conflicts: lake.conflicts.map(\.description))
    }
}

/// A page, or something that a form does: how it is asked for, and how it is answered.
struct WebRoute: Sendable {
    enum Handler: Sendable {
        case page(@Sendable (Visit) throws -> WebPage)
        case work(@Sendable (Visit) throws -> Response)
        /// Let in or not, which may take a while that no thread waits for.
        case login(@Sendable (WebUI, Request, [QueryItem], @escaping @Sendable (Response) -> Void) -> Void)
    }

    let name: String
    let method: String
    /// Nil stands for a name.
    let parts: [String?]
    let needsLogin: Bool
    let handler: Handler

    /// - Parameter path: `*` stands for a name, `~` for `repositories/*`.
    private init(_ name: String, _ method: String, _ path: String, needsLogin: Bool, _ handler: Handler) {
        self.name = name
        self.method = method
        self.needsLogin = needsLogin
        self.handler = handler
        parts = path.replacing("~", with: "repositories/*").split(separator: "/").map { $0 == "*" ? nil : String($0) }
    }

    func fits(_ path: [String]) -> Bool {
        path.count == parts.count && zip(parts, path).allSatisfy { $0 == nil || $0 == $1 }
    }

    static func page(
        _ name: String, _ path: String, needsLogin: Bool = true, _ make: @escaping @Sendable (Visit) throws -> WebPage
    )
        -> WebRoute
    { WebRoute(name, "GET", path, needsLogin: needsLogin, .page(make)) }

    /// A part of a page, or an address that leads to another.
    static func part(
        _ name: String, _ path: String, needsLogin: Bool = true, _ work: @escaping @Sendable (Visit) throws -> Response
    )
        -> WebRoute
    { WebRoute(name, "GET", path, needsLogin: needsLogin, .work(work)) }

    static func form(
        _ name: String, _ path: String, needsLogin: Bool = true, _ work: @escaping @Sendable (Visit) throws -> Response
    )
        -> WebRoute
    { WebRoute(name, "POST", path, needsLogin: needsLogin, .work(work)) }

    static func login(
        _ name: String, _ path: String,
        _ work: @escaping @Sendable (WebUI, Request, [QueryItem], @escaping @Sendable (Response) -> Void) -> Void
    ) -> WebRoute { WebRoute(name, "POST", path, needsLogin: false, .login(work)) }

    /// All of them.
    static let all: [WebRoute] =
        LoginPages.routes + RepositoryPages.routes + DataPages.routes + ObjectPages.routes + ChangePages.routes
        + CommitPages.routes + ComparePages.routes + RefPages.routes + PullPages.routes + ActionPages.routes
        + SettingPages.routes + MountPages.routes + AdministrationPages.routes
}
