/// Whose pages may call this server from a browser (WHATWG Fetch, "CORS protocol"). They send keys or tokens of their
/// own: a browser's cookies are not for them.
struct AllowedOrigins: Sendable {
    private let origins: Set<String>

    /// - Parameter origins: such as `https://tool.example.org`; `*` for all. None: no other page may.
    init(_ origins: [String]) { self.origins = Set(origins) }

    private func allowed(_ request: Request) -> String? {
        guard !origins.isEmpty, let origin = request.header("origin") else { return nil }
        if origins.contains("*") { return "*" }
        return origins.contains(origin) ? origin : nil
    }

    /// What every answer to an allowed origin has.
    func headers(for request: Request) -> [(name: String, value: String)] {
        guard let origin = allowed(request) else { return [] }
        return [("Access-Control-Allow-Origin", origin), ("Access-Control-Expose-Headers", "*")]
            + (origin == "*" ? [] : [("Vary", "Origin")])
    }

    /// The answer to a browser that asks before it sends a request; nil if this is no such question, or not allowed.
    func preflight(_ request: Request) -> Response? {
        guard request.method == "OPTIONS", request.fault == nil, allowed(request) != nil,
            let method = request.header("access-control-request-method")
        else { return nil }
        guard ["GET", "HEAD", "PUT", "POST", "DELETE", "PATCH"].contains(method) else { return Response(status: 403) }
        var headers = [
            (name: "Access-Control-Allow-Methods", value: "GET, HEAD, PUT, POST, DELETE, PATCH"),
            (name: "Access-Control-Max-Age", value: "3600"),
        ]
        if let wanted = request.header("access-control-request-headers") {
            headers.append(("Access-Control-Allow-Headers", wanted))
        }
        return Response(status: 204, headers: headers)
    }
}
