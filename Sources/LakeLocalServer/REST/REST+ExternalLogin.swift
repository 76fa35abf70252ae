import Foundations
import LakeAPI
import Transport
import Versioning

/// Logging in by what other systems say, and programs by a browser.
extension REST {
    func addExternalLogin(_ router: inout Router) {
        addPrincipals(&router)
        addMailboxes(&router)
        addOpenID(&router)
        router.on(.externalPrincipalLogin) { call in
            call.jsonSoon(API.ExternalLoginInformation.self, limit: Call.largestLogin) { body, answer in
                let seconds = try lifetime(body.tokenExpirationDuration.map(Int64.init), "token_expiration_duration")
                outside.run(
                    for: call.request,
                    {
                        guard try access.hasExternalPrincipals(), let arn = try callerIdentity.arn(body, call.request),
                            let found = try principal(arn)
                        else {
                            _ = login.failed(call.request, accessKeyID: nil)
                            throw Login.refusal
                        }
                        return tokenAnswer(
                            newToken(for: found.userName, by: .principal(found.id), seconds: seconds, call))
                    }, answer)
            }
        }
    }

    /// How long a token is to last.
    /// - Throws: `.invalidValue`, naming the field, for what may not be asked for.
    private func lifetime(_ asked: Int64?, _ field: String) throws -> Int64 {
        let seconds = asked ?? login.tokenSeconds
        guard (1...login.longestTokenSeconds).contains(seconds) else {
            throw LakeError(
                .invalidValue, "\(field) \(seconds) is not valid: 1 to \(login.longestTokenSeconds) seconds are")
        }
        return seconds
    }

    /// Where browsers begin to log in at an identity provider.
    static let openIDStart = "/api/v1/oidc/login"

    private func addOpenID(_ router: inout Router) {
        @Sendable func provider() throws -> OpenIDConnect {
            guard let openID = externalLogins?.openID else {
                throw LakeError(.unauthenticated, "no identity provider is known here: set auth.oidc.url")
            }
            return openID
        }
        router.on(.oidcLogin) { call in outside.reception(for: call.request) { try provider().begin() } }
        router.on(.oauthCallback) { call in
            // lakeFS answers so where it has no provider.
            guard let openID = externalLogins?.openID else { return .respond(Response(status: 200)) }
            return outside.reception(for: call.request) {
                let user = try welcome(call) { try openID.identity(of: call.request, query: call.query) }
                // The session is for our own pages only, and the browser comes from another's: a page of ours sends it
                // on.
                return Response(
                    status: 200,
                    headers: [
                        ("Content-Type", "text/html; charset=utf-8"), ("Cache-Control", "no-store"),
                        ("Content-Security-Policy", "default-src 'none'"),
                        login.cookie(newToken(for: user.name, by: Login.Origin(user), call)),
                    ],
                    body: .bytes(
                        Array(
                            "<!DOCTYPE html><meta http-equiv=\"refresh\" content=\"0; url=/\"><title>LakeFUSE</title>"
                                .utf8)))
            }
        }
        router.on(.stsLogin) { call in
            call.jsonSoon(API.StsAuthRequest.self, limit: Call.largestLogin) { body, answer in
                let seconds = try lifetime(body.ttlSeconds, "ttl_seconds")
                outside.run(
                    for: call.request,
                    {
                        let user = try welcome(call) {
                            try provider().identity(code: body.code, redirect: body.redirectUri)
                        }
                        return tokenAnswer(newToken(for: user.name, by: Login.Origin(user), seconds: seconds, call))
                    }, answer)
            }
        }
    }

    /// The user whom the provider vouches for. Who fails is counted, as with passwords.
    private func welcome(_ call: Call, _ identify: () throws -> ExternalIdentity) throws -> User {
        do { return try access.welcome(identify(), from: "oidc") } catch let error as LakeError
            where error.code == .unauthenticated
        {
            _ = login.failed(call.request, accessKeyID: nil)
            throw error
        }
    }

    /// The principal of an ARN: of a session, or of the role that it is a session of.
    private func principal(_ arn: String) throws -> ExternalPrincipal? {
        if let found = try access.findExternalPrincipal(arn) { return found }
        let parts = arn.split(separator: "/", omittingEmptySubsequences: false)
        guard parts.count == 3, parts[0].hasSuffix(":assumed-role") else { return nil }
        return try access.findExternalPrincipal(parts[0] + "/" + parts[1])
    }

    private func message(_ principal: ExternalPrincipal) throws -> API.ExternalPrincipal {
        API.ExternalPrincipal(
            id: principal.id, userId: principal.userName,
            settings: principal.settings.isEmpty
                ? nil : try Coding.decode([String: JSONValue].self, principal.settings))
    }

    private func addPrincipals(_ router: inout Router) {
        router.on(.createUserExternalPrincipal) { call in
            let id = try call.required("principalId")
            return call.json(API.ExternalPrincipalCreation.self, isOptional: true) { body in
                try access.createExternalPrincipal(
                    id, of: call[.userId], settings: body.settings.map { Coding.encode($0) } ?? [])
                return Response(status: 201)
            }
        }
        router.on(.deleteUserExternalPrincipal) { call in
            let id = try call.required("principalId")
            return call.work {
                try access.deleteExternalPrincipal(id, of: call[.userId])
                return .noContent
            }
        }
        router.on(.listUserExternalPrincipals) { call in
            call.now {
                let page = try access.listExternalPrincipals(
                    of: call[.userId], prefix: call.text("prefix") ?? "", after: call.text("after") ?? "",
                    limit: call.amount())
                return .json(200, try ResultList(page, maxPerPage: 0, next: \.id) { try message($0) })
            }
        }
        router.on(.getExternalPrincipal) { call in
            let id = try call.required("principalId")
            try call.require(.externalPrincipal("ReadExternalPrincipal", id))
            return call.now { .json(200, try message(access.externalPrincipal(id))) }
        }
    }

    /// Asks a person whether a program may act as them.
    private static func question(_ user: String) -> Response {
        let name = user.replacing("&", with: "&amp;").replacing("<", with: "&lt;")
        let page = """
            <!DOCTYPE html><title>LakeFUSE</title><p>A program wants to log in to this lake as <b>\(name)</b>. Let it in only
            if you have just started it yourself.<form method="post"><button>Let it in</button></form>

            """
        return Response(
            status: 200,
            headers: [
                ("Content-Type", "text/html; charset=utf-8"), ("Cache-Control", "no-store"),
                (
                    "Content-Security-Policy",
                    "default-src 'none'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
                ), ("X-Frame-Options", "DENY"), ("X-Content-Type-Options", "nosniff"),
            ], body: .bytes(Array(page.utf8)))
    }

    private func addMailboxes(_ router: inout Router) {
        let mailboxes = Mailboxes(login: login)
        router.on(.getTokenRedirect) { _ in
            let (mailbox, ticket) = mailboxes.open()
            return .respond(
                Response(
                    status: 303,
                    headers: [
                        ("Location", "\(Self.base)/auth/get-token/release-token/\(ticket)"),
                        ("X-LakeFS-Mailbox", mailbox), ("Cache-Control", "no-store"),
                    ]))
        }
        // A program shows its keys and has the token released. A person is asked first: whoever began it may have sent
        // them here.
        router.on(.releaseTokenToMailbox) { call in
            guard call.request.header("authorization") != nil else { return .respond(Self.question(call.user)) }
            return call.work {
                try mailboxes.release(call[.loginRequestToken], by: call.request)
                return .noContent
            }
        }
        router.on(.confirmTokenRelease) { call in
            // The page that asked is ours: browsers say where a form comes from.
            let origin = call.request.header("origin") ?? ""
            guard
                call.request.header("authorization") != nil
                    || origin.hasSuffix("://" + (call.request.header("host") ?? ""))
            else {
                return .respond(.failure(400, "this is for the page of this server that asks for it"))
            }
            return call.work {
                try mailboxes.release(call[.loginRequestToken], by: call.request)
                return .text(
                    200, "The program is logged in. This page can be closed.\n", type: "text/plain; charset=utf-8")
            }
        }
        router.on(.getTokenFromMailbox) { call in
            call.work {
                guard let made = try mailboxes.take(call[.mailbox]) else {
                    return .failure(
                        404, "no token is in this mailbox: nobody has logged in for it yet, or it was fetched")
                }
                var response = tokenAnswer(made)
                response.headers.append(("Cache-Control", "no-store"))
                return response
            }
        }
        // All of it is here for everybody; a client that asks is told so in the form that it knows.
        router.on(.getLicense) { _ in
            struct License: Encodable {
                var iss = "lakefuse"
                var sub: String
                var features = "all"
            }
            return .respond(
                .json(200, API.License(token: login.sign(License(sub: try access.installationID())))))
        }
    }
}
