package import LakeAPI
import Transport
package import Versioning

/// What a server is set up with, as far as its answers tell it.
package struct ServerSettings: Sendable {
    /// `blockstore.type`: `local`, `mem`.
    package var blockstoreType = "local"
    /// Whether imports from folders of this machine are allowed.
    package var isImportEnabled = false
    /// Schemes that storage namespaces may have.
    package var schemes: Set<String> = ["local"]
    /// Signs addresses that are handed out for direct uploads.
    package var signingSecret: String
    package var region = "us-east-1"
    /// `blockstore.verify_reads`: whether objects that are read whole are held against their checksums first.
    package var verifiesReads = false
    /// `mounts.allowed_folders`.
    package var mountFolders: [String] = []
    /// Hosts at and under which the S3 gateway is addressed by virtual hosts.
    package var s3Domains = ["s3.local.lakefs.io"]
    package init(signingSecret: String) { self.signingSecret = signingSecret }
}

/// Mounts of the server's own machine: what `lakefuse mount` asks for. The file-system door implements it.
package protocol MountControl: Sendable {
    func mounts() -> [MountMessage]
    /// - Parameters:
    ///   - user: whom it is for: mounts of one branch by one user are one file system.
    ///   - allows: what that user may do; asked for every path.
    ///   - isFree: whether the user may do everything to all objects of the repository, so that nobody need ask.
    /// - Throws: `LakeError` that names the directory.
    func mount(_ request: MountMessage, for user: String, allows: @escaping @Sendable (Permission) -> Bool, isFree: @escaping @Sendable () -> Bool) throws
    func unmount(_ directory: String) throws
}

/// lakeFS's REST API under `/api/v1`, and LakeFUSE's own calls under `/api/lakefuse`.
package struct REST: Sendable {
    static let base = "/api/v1"
    let catalog: Catalog
    let access: Access
    let login: Login
    let settings: ServerSettings
    let mounts: (any MountControl)?
    let budget: MemoryBudget
    private var router = Router()
    /// Calls that need no login.
    private var publicRouter = Router()

    package init(catalog: Catalog, access: Access, login: Login, settings: ServerSettings, mounts: (any MountControl)?, budget: MemoryBudget) {
        self.budget = budget
        self.catalog = catalog
        self.access = access
        self.login = login
        self.settings = settings
        self.mounts = mounts
        addSetup(&publicRouter)
        addConfiguration(&router)
        addUsers(&router)
        addRepositories(&router)
        addBranches(&router)
        addRefs(&router)
        addCommits(&router)
        addObjects(&router)
        addMetadata(&router)
        addSettings(&router)
        addPulls(&router)
        addTransfer(&router)
        addMounts(&router)
    }

    /// Whether a path is this API's.
    package static func serves(_ path: String) -> Bool { path == "/api" || path.hasPrefix("/api/") }

    /// The answer where there is no memory for a request.
    static let slowDown: Response = {
        var response = Response.failure(503, "SlowDown: the server holds as many bytes of requests as it may: try again")
        response.headers.append(("Retry-After", "1"))
        return response
    }()

    package func begin(_ request: Request) -> Reception {
        if let fault = request.fault { return .respond(.failure(400, fault)) }
        let path = request.rawPath.dropFirst(5).split(separator: "/", omittingEmptySubsequences: false).map { String(decoding: URIEncoding.decode($0), as: UTF8.self) }
        let query = URIEncoding.query(request.rawQuery, plusIsSpace: true)
        do {
            func call(_ parameters: [String: String], user: String) throws -> Call {
                let call = Call(request: request, parameters: parameters, query: query, caller: Caller(user, from: request.peer?.address), access: access, budget: budget)
                try call.checkParameters()
                return call
            }
            if case .found(let handler, let parameters) = publicRouter.match(request.method, path) { return try handler(call(parameters, user: "")) }
            switch router.match(request.method, path) {
            case .found(let handler, let parameters): return try handler(call(parameters, user: login.user(of: request)))
            case .otherMethod: return .respond(.failure(405, "method \(request.method) is not allowed for \(request.rawPath)"))
            case .none: return .respond(.failure(404, "invalid API endpoint: \(request.rawPath)"))
            }
        } catch {
            var response = Response(error)
            if request.method == "HEAD" { response.body = .bytes([]) }
            if let error = error as? LakeError, error.code == .unauthenticated, request.header("authorization") != nil {
                return login.refuse(request, with: response)
            }
            return .respond(response)
        }
    }
}

extension ResultList {
    init<Source>(_ page: Page<Source>, next: (Item) -> String, _ convert: (Source) throws -> Item) rethrows {
        self.init(try page.items.map(convert), hasMore: page.hasMore, next: next)
    }
}
