import Foundations
package import LakeAPI
import Transport
package import Versioning

/// What a server is set up with, as far as its answers tell it.
package struct ServerSettings: Sendable {
    /// The stores that repositories may be in; the first is that of those that name none.
    package var stores = [StoreSettings()]
    /// Signs addresses that are handed out for direct uploads.
    package var signingSecret: String
    package var region = "us-east-1"
    /// `blockstore.verify_reads`: whether objects that are read whole are held against their checksums first.
    package var verifiesReads = false
    /// `mounts.allowed_folders`.
    package var mountFolders: [String] = []
    /// Another S3 server's address, for requests that name no repository; empty for none.
    package var s3FallbackURL = ""
    /// Hosts at and under which the S3 gateway is addressed by virtual hosts.
    package var s3Domains = ["s3.local.lakefs.io"]
    /// `gateways.s3.create_repositories`: whether buckets are made and deleted over S3.
    package var createsRepositories = false
    /// `auth.external_aws_auth.sts_endpoint`: an AWS Security Token Service; empty for AWS' own.
    package var stsEndpoint = ""
    /// `auth.external_aws_auth.server_names`.
    package var serverNames: [String] = []
    /// `cors.allowed_origins`.
    package var allowedOrigins: [String] = []
    /// `auth.ui_config.login_failed_message`.
    package var loginFailedMessage = "The credentials don't match."
    /// Whether clients reach this server by HTTPS.
    package var isTLS = false
    package init(signingSecret: String) { self.signingSecret = signingSecret }
}

/// What a store of objects is, as far as answers tell it.
package struct StoreSettings: Sendable {
    /// Empty for the only one.
    package var id = "", description = ""
    /// `local`, `mem`, `s3`, `gs`, `azure`.
    package var type = "local"
    /// What storage namespaces there begin with.
    package var scheme = "local"
    /// A namespace as it may be.
    package var example = "local://example-bucket/"
    package var isImportEnabled = false
    /// `disable_pre_signed`, `disable_pre_signed_ui`, `disable_pre_signed_multipart`, `pre_signed_expiry`.
    package var isPresigned = true, isPresignedInPages = false, arePartsPresigned = true
    package var presignSeconds: Int64 = 15 * 60
    package init() {}

    /// As REST tells it.
    var message: API.StorageConfig {
        API.StorageConfig(
            blockstoreType: type, blockstoreNamespaceExample: example,
            blockstoreNamespaceValidityRegex: scheme == "https" ? "^https?://" : "^\(scheme)://",
            defaultNamespacePrefix: scheme == "https" ? nil : "\(scheme)://", preSignSupport: isPresigned,
            preSignSupportUi: isPresignedInPages, importSupport: isImportEnabled,
            importValidityRegex: scheme == "https" ? "^https?://" : "^\(scheme)://",
            preSignMultipartUpload: isPresigned && arePartsPresigned, blockstoreId: id,
            blockstoreDescription: description)
    }
}

extension ServerSettings {
    /// The store of an id; nil for none of this server's.
    func store(_ id: String) -> StoreSettings? { stores.first { $0.id == id } }
}

/// Mounts of the server's own machine: what `lakefuse mount` asks for. The file-system door implements it.
package protocol MountControl: Sendable {
    /// - Parameter isDetailed: whether for whom, what is not on the branch yet, and what went wrong is told too.
    func mounts(isDetailed: Bool) -> [API.Mount]
    /// - Parameters:
    ///   - user: whom it is for: mounts of one branch by one user are one file system.
    ///   - allows: what that user may do; asked for every path.
    ///   - isFree: whether the user may do everything to all objects of the repository, so that nobody need ask.
    /// - Throws: `LakeError` that names the directory.
    func mount(
        _ request: API.Mount, for user: String, allows: @escaping @Sendable (Permission) -> Bool,
        isFree: @escaping @Sendable () -> Bool) throws
    func unmount(_ directory: String) throws
}

/// lakeFS's REST API under `/api/v1`, and LakeFUSE's own calls under `/api/lakefuse`.
package struct REST: Door {
    static let base = "/api/v1"
    let catalog: Catalog
    let access: Access
    let login: Login
    let settings: ServerSettings
    let mounts: (any MountControl)?
    let budget: MemoryBudget
    let links: ObjectLinks
    let callerIdentity: CallerIdentity
    /// Nil: nobody else vouches for users.
    let externalLogins: ExternalLogins?
    let outside: OutsideCalls
    private var router = Router()

    package init(
        catalog: Catalog, access: Access, login: Login, settings: ServerSettings, mounts: (any MountControl)?,
        budget: MemoryBudget, externalLogins: ExternalLogins? = nil, outside: OutsideCalls
    ) {
        self.outside = outside
        self.externalLogins = externalLogins
        self.budget = budget
        self.catalog = catalog
        self.access = access
        self.login = login
        self.settings = settings
        self.mounts = mounts
        callerIdentity = CallerIdentity(endpoint: settings.stsEndpoint, serverNames: settings.serverNames)
        links = ObjectLinks(
            catalog, signingSecret: settings.signingSecret, region: settings.region, isTLS: settings.isTLS,
            stores: settings.stores)
        addSetup(&router)
        addConfiguration(&router)
        addUsers(&router)
        addRepositories(&router)
        addBranches(&router)
        addRefs(&router)
        addCommits(&router)
        addObjects(&router)
        addPresignedParts(&router)
        addMetadata(&router)
        addSettings(&router)
        addPulls(&router)
        addTransfer(&router)
        addMounts(&router)
        addTasks(&router)
        addComments(&router)
        addArchive(&router)
        addCollection(&router)
        addRuns(&router)
        addExternalLogin(&router)
    }

    /// Whether a path is this API's.
    package func serves(_ request: Request) -> Bool { request.rawPath == "/api" || request.rawPath.hasPrefix("/api/") }
    package func slowDown(_ request: Request) -> Response { Self.slowDown }

    /// The answer where there is no memory for a request.
    static let slowDown: Response = {
        var response = Response.failure(
            503, "SlowDown: the server holds as many bytes of requests as it may: try again")
        response.headers.append(("Retry-After", "1"))
        return response
    }()

    package func begin(_ request: Request) -> Reception {
        if let fault = request.fault { return .respond(.failure(400, fault)) }
        let path = request.rawPath.utf8.dropFirst(5).split(separator: 0x2f, omittingEmptySubsequences: false).map {
            $0.contains(0x25)
                ? String(decoding: URIEncoding.decode(Substring($0)), as: UTF8.self) : String(Substring($0))
        }
        let query = URIEncoding.query(request.rawQuery, plusIsSpace: true)
        do {
            switch router.match(request.method, path) {
            case .found(let route, let parameters):
                let row = route.row
                request.note.operation = .rest(row.operation)
                let user =
                    switch row.needs.kind {
                    case .anyone: ""
                    case .perhaps: try login.userIfAny(of: request) ?? ""
                    case .login, .told, .permissions: try login.user(of: request)
                    }
                request.note.user = user
                let call = Call(
                    request: request, row: row, parameters: parameters, query: query,
                    caller: Caller(user, from: request.peer?.address), access: access, budget: budget)
                try call.check(route.parameters)
                // What may wait does so on another thread; a body has to be read on this one.
                guard row.cost != .point, !request.hasBody else { return try begin(route, call) }
                return row.cost.reception {
                    do { return try begin(route, call).answer(to: []) } catch { return Self.failure(error, request) }
                }
            case .otherMethods(let allowed):
                var response = Response.failure(
                    405, "method \(request.method) is not allowed for \(request.rawPath)")
                response.headers.append(("Allow", allowed.joined(separator: ", ")))
                return .respond(response)
            case .none: return .respond(.failure(404, "invalid API endpoint: \(request.rawPath)"))
            }
        } catch {
            let response = Self.failure(error, request)
            if let error = error as? LakeError, error.code == .unauthenticated, request.header("authorization") != nil {
                return login.refuse(request, with: response)
            }
            return .respond(response)
        }
    }

    /// A call that is made within the process, for who makes a request of another kind: checked as any other.
    func call(
        _ operation: Operation, _ names: [(part: PathPart, value: String)], _ query: [QueryItem], body: [UInt8],
        for caller: Caller, _ outer: Request
    ) throws -> Call {
        let route = router.route(operation)
        let row = route.row
        var headers = outer.headers.filter { ["host", "range"].contains($0.name) }
        if !body.isEmpty {
            headers += [("content-type", "application/json"), ("content-length", "\(body.count)")]
        }
        let request = Request(
            method: row.method, target: "/api" + row.path.filter { $0 != "{" && $0 != "}" }, headers: headers,
            peer: outer.peer)
        let call = Call(
            request: request, row: row, parameters: names, query: query, caller: caller, access: access, budget: budget)
        try call.check(route.parameters)
        return call
    }

    /// What becomes of such a call.
    func begin(_ call: Call) throws -> Reception { try begin(router.route(call.row.operation), call) }

    /// Whether who makes a call may do what its row asks for.
    func allows(_ call: Call) -> Bool {
        // What cannot be told is not offered.
        (try? access.require(call.row.needs.permissions(call), for: call.caller)) != nil
    }

    private func begin(_ route: Router.Route, _ call: Call) throws -> Reception {
        try access.require(route.row.needs.permissions(call), for: call.caller)
        guard let handler = route.handler else {
            throw LakeError(.notImplemented, "operation \(route.row.operation.rawValue) is not built yet")
        }
        return try handler(call)
    }

    static func failure(_ error: any Error, _ request: Request) -> Response {
        var response = Response(error)
        if request.method == "HEAD" { response.body = .bytes([]) }
        return response
    }
}

extension ResultList {
    init<Source>(
        _ page: Page<Source>, maxPerPage: Int = 1000, next: (Item) -> String, _ convert: (Source) throws -> Item
    ) rethrows {
        self.init(try page.items.map(convert), hasMore: page.hasMore, maxPerPage: maxPerPage, next: next)
    }
}
