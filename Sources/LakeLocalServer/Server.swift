import LakeAPI
package import Versioning

/// One of the server's doors. The first of the list that says a request is its own answers it.
package protocol Door: Sendable {
    func serves(_ request: Request) -> Bool
    /// A request that has a `fault` is to be refused.
    func begin(_ request: Request) -> Reception
    /// The answer to a request for which there is no memory: 503.
    func slowDown(_ request: Request) -> Response
}

/// All doors on one port, in order; the last serves everything.
package struct Server: RequestHandler {
    private let doors: [any Door]
    private let catalog: Catalog
    private let telemetry: Telemetry
    private let origins: AllowedOrigins

    package init(
        rest: REST, gateway: S3Gateway, access: Access, telemetry: Telemetry = Telemetry(), readiness: Readiness? = nil,
        live: LivePages? = nil
    ) {
        catalog = rest.catalog
        self.telemetry = telemetry
        origins = AllowedOrigins(rest.settings.allowedOrigins)
        doors = [
            gateway, rest.links, rest,
            TelemetryDoor(telemetry: telemetry, access: access, readiness: readiness ?? Readiness(rest.catalog)),
            WebUI(rest: rest, live: live ?? LivePages(rest.catalog.events), telemetry: telemetry),
            FrontDoor(login: rest.login, region: gateway.settings.region),
        ]
    }

    private func door(_ request: Request) -> any Door { doors.first { $0.serves(request) }! }

    package func begin(_ request: Request) -> Reception {
        // It may be begun twice: first without waiting.
        if request.note.isNew() { telemetry.begun() }
        if let answer = origins.preflight(request) { return .respond(answer) }
        // What mounts hold back is published before a branch is shown: that takes as long as reading it, on a thread
        // that may wait.
        if catalog.unsettled.isHolding, !request.isWrite, request.rawPath != TelemetryDoor.health {
            return .work { beginNow(request).answer(to: []) }
        }
        return beginNow(request)
    }

    private func beginNow(_ request: Request) -> Reception {
        door(request).begin(request)
    }

    package func slowDown(_ request: Request) -> Response { door(request).slowDown(request) }

    package func headers(for request: Request) -> [(name: String, value: String)] { origins.headers(for: request) }

    package func answered(_ request: Request, _ response: Response) { telemetry.answered(request, response) }
}

/// What a person sees who lost the way, and everything that is no other door's.
struct FrontDoor: Door {
    let login: Login
    /// Of the S3 door, for those who missed it.
    let region: String

    func serves(_ request: Request) -> Bool { true }

    func begin(_ request: Request) -> Reception {
        if let fault = request.fault { return .respond(.text(400, fault + "\n", type: "text/plain; charset=utf-8")) }
        switch request.rawPath {
        // Where lakeFS's paid edition has catalogs of Iceberg tables.
        case let path where Self.catalogs.contains { path.hasPrefix($0) }:
            return .respond(.text(501, "Not Implemented\n", type: "text/plain; charset=utf-8"))
        case "/openapi.json": return .respond(Self.description)
        case "/logout":
            request.note.operation = .logout
            // A page that takes it for a picture ends nobody's session.
            guard ["document", "empty", nil].contains(request.header("sec-fetch-dest")) else {
                return .respond(.text(403, "open this in a browser\n", type: "text/plain; charset=utf-8"))
            }
            return .work { logOut(request) }
        // Anything else without a login is a client of S3 that forgot its key pair.
        default: return .respond(S3Error.accessDenied.response(to: request, in: region))
        }
    }

    func slowDown(_ request: Request) -> Response { REST.slowDown }

    private func logOut(_ request: Request) -> Response {
        do { try login.logOut(request) } catch { return Response(error) }
        return Response(
            status: 307,
            headers: [
                ("Location", "/"), ("Set-Cookie", "\(Login.cookieName)=; Path=/; Max-Age=0; HttpOnly; SameSite=Strict"),
            ])
    }

    private static let catalogs = ["/iceberg/api/", "/iceberg/relative_to/", "/mds/iceberg/api/"]

    /// The API, for those who make clients of it.
    private static let description = Response(
        status: 200, headers: [("Content-Type", "application/json")],
        body: .bytes(Array(API.description.description.utf8)))

}
