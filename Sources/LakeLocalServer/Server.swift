package import Versioning

/// All HTTP doors on one port: the S3 gateway for requests that are signed or addressed as its own, REST under `/api`.
package struct Server: RequestHandler {
    private let rest: REST
    private let gateway: S3Gateway
    private let access: Access

    package init(rest: REST, gateway: S3Gateway, access: Access) {
        self.rest = rest
        self.gateway = gateway
        self.access = access
    }

    package func begin(_ request: Request) -> Reception {
        // What mounts hold back is published before a branch is shown: that takes as long as reading it, on a thread that may wait.
        if rest.catalog.unsettled.isHolding, request.method == "GET" || request.method == "HEAD", request.rawPath != "/_health" { return .work { beginNow(request).answer(to: []) } }
        return beginNow(request)
    }

    private func beginNow(_ request: Request) -> Reception {
        if gateway.serves(request) { return gateway.begin(request) }
        if REST.serves(request.rawPath) { return rest.begin(request) }
        if let fault = request.fault { return .respond(.text(400, fault + "\n", type: "text/plain; charset=utf-8")) }
        switch request.rawPath {
        case "/_health": return .respond(Response(status: 200, headers: [("X-LakeFS-Installation-ID", (try? access.installationID()) ?? "")], body: .bytes(Array("alive!".utf8))))
        case "/", "": return .respond(.text(200, Self.welcome, type: "text/plain; charset=utf-8"))
        case "/logout": return .work { logOut(request) }
        // Anything else without a login is a client of S3 that forgot its key pair, or a person that lost the way.
        default: return .respond(S3Error.accessDenied.response(isHead: request.method == "HEAD"))
        }
    }

    private func logOut(_ request: Request) -> Response {
        do { try rest.login.logOut(request) } catch { return Response(error) }
        return Response(status: 307, headers: [("Location", "/"), ("Set-Cookie", "\(Login.cookieName)=; Path=/; Max-Age=0; HttpOnly; SameSite=Strict")])
    }

    package func slowDown(_ request: Request) -> Response {
        gateway.serves(request) ? S3Error.slowDown.response(isHead: request.method == "HEAD") : REST.slowDown
    }

    private static let welcome = "LakeFUSE is running. REST: /api/v1, S3: this address with path-style buckets, files: lakefuse mount lakefs://repo/ref DIR\n"
}
