import Foundations
import LakeAPI
import Transport
import Versioning

/// What server and API describe themselves as; `version` is the lakeFS version whose answers these are.
enum Product {
    static let lakeFSVersion = "1.84.0"
}

extension REST {
    private struct SetupState: Codable, Sendable {
        struct LoginConfig: Codable, Sendable {
            var RBAC = "internal"
            var loginUrl = ""
            var loginUrlMethod = "none"
            var loginFailedMessage = "The credentials don't match."
            var loginCookieNames = [Login.cookieName]
            var logoutUrl = "/logout"
            var fallbackLoginLabel: String?
            var usernameUiPlaceholder = "Access Key ID"
            var passwordUiPlaceholder = "Secret Access Key"
            enum CodingKeys: String, CodingKey {
                case RBAC, loginUrl, loginUrlMethod, loginFailedMessage, loginCookieNames, logoutUrl,
                    fallbackLoginLabel, usernameUiPlaceholder, passwordUiPlaceholder
            }
        }
        var state: String
        var commPrefsMissing: Bool
        var loginConfig = LoginConfig()
    }

    /// Calls without a login: health, set-up, login.
    func addSetup(_ router: inout Router) {
        router.on(.healthCheck) { _ in .respond(.noContent) }
        router.on(.getSetupState) { call in
            call.now {
                .json(
                    200,
                    SetupState(state: try access.isSetUp() ? "initialized" : "not_initialized", commPrefsMissing: false)
                )
            }
        }
        router.on(.setup) { call in
            call.json(SetupCreation.self, limit: Call.largestLogin) { body in
                guard !body.username.isEmpty else {
                    throw LakeError(.invalidValue, "username is empty: name the first user")
                }
                guard body.key.map({ $0.accessKeyId.isEmpty || $0.secretAccessKey.isEmpty }) != true else {
                    throw LakeError(.invalidValue, "key is empty: give an access key id and a secret, or none of both")
                }
                let given = body.key.map {
                    Credentials(
                        accessKeyID: $0.accessKeyId, secretAccessKey: $0.secretAccessKey, userName: body.username,
                        issued: .now())
                }
                let made = try access.setUp(userName: body.username, credentials: given)
                return .json(200, withSecret(made))
            }
        }
        router.on(.login) { call in
            call.jsonSoon(LoginInformation.self, limit: Call.largestLogin) { body, answer in
                guard let user = try login.user(accessKeyID: body.accessKeyId, secretAccessKey: body.secretAccessKey)
                else {
                    let refusal = Response(LakeError(.unauthenticated, "error authenticating request"))
                    return login.delays.run(after: login.failed(call.request, accessKeyID: body.accessKeyId)) {
                        answer(refusal)
                    }
                }
                let made = login.token(for: user, accessKeyID: body.accessKeyId)
                var response = Response.json(200, AuthenticationToken(token: made.token, tokenExpiration: made.expires))
                response.headers.append(
                    (
                        "Set-Cookie",
                        "\(Login.cookieName)=\(made.token); Path=/; Expires=\(Timestamp(seconds: made.expires).httpDate); Max-Age=\(Login.tokenSeconds); HttpOnly; SameSite=Strict"
                    ))
                answer(response)
            }
        }
        router.on(.getAuthCapabilities) { _ in .respond(.json(200, ["invite_user": false, "forgot_password": false])) }
    }

    private struct StorageConfig: Codable, Sendable {
        var blockstoreType: String
        var blockstoreNamespaceExample: String
        var blockstoreNamespaceValidityRegex: String
        var blockstoreId = ""
        var blockstoreDescription = ""
        var defaultNamespacePrefix: String
        var preSignSupport = true
        var preSignSupportUi = false
        var importSupport = false
        var importValidityRegex: String
        var preSignMultipartUpload = true

        /// One name of the API is not in snake case.
        enum CodingKeys: String, CodingKey {
            case blockstoreType, blockstoreNamespaceExample
            case blockstoreNamespaceValidityRegex = "blockstore_namespace_ValidityRegex"
            case blockstoreId, blockstoreDescription
            case defaultNamespacePrefix, preSignSupport, preSignSupportUi, importSupport, importValidityRegex,
                preSignMultipartUpload
        }
    }

    private struct VersionConfig: Codable, Sendable {
        var version = Product.lakeFSVersion
        var versionContext = "lakeFUSE"
    }

    private struct Configuration: Codable, Sendable {
        var versionConfig = VersionConfig()
        var storageConfig: StorageConfig
        var storageConfigList: [StorageConfig] = []
        var uiConfig: [String: [String]] = [:]
        var capabilitiesConfig: [String: Bool] = [:]
    }

    private var storage: StorageConfig {
        let scheme = settings.schemes.sorted().first ?? "local"
        return StorageConfig(
            blockstoreType: settings.blockstoreType, blockstoreNamespaceExample: "\(scheme)://example-bucket/",
            blockstoreNamespaceValidityRegex: "^\(scheme)://", defaultNamespacePrefix: "\(scheme)://",
            importSupport: settings.isImportEnabled, importValidityRegex: "^\(scheme)://")
    }

    func addConfiguration(_ router: inout Router) {
        router.on(.getConfig) { _ in .respond(.json(200, Configuration(storageConfig: storage))) }
        router.on(.getStorageConfig) { call in
            return .respond(.json(200, storage))
        }
        router.on(.getLakeFSVersion) { _ in .respond(.json(200, VersionConfig())) }
        // Seconds that an uncommitted object is safe from collection: a day.
        router.on(.getGarbageCollectionConfig) { _ in .respond(.json(200, ["grace_period": 86400])) }
        // Telemetry of clients: taken and dropped, nothing leaves the machine.
        router.on(.postStatsEvents) { call in
            call.json(StatsEventsList.self) { body in
                for event in body.events {
                    guard event.count >= 0 else {
                        throw LakeError(.invalidValue, "invalid value: count must be a non-negative integer")
                    }
                    guard !event.class.isEmpty else {
                        throw LakeError(.invalidValue, "invalid value: class is required")
                    }
                    guard !event.name.isEmpty else { throw LakeError(.invalidValue, "invalid value: name is required") }
                }
                return .noContent
            }
        }
        // No letters are sent: what one would like to hear of is taken and dropped too.
        router.on(.setupCommPrefs) { call in
            call.json(CommPrefsInput.self, limit: Call.largestLogin) { _ in Response(status: 200) }
        }
        // Calls are not counted by the month.
        router.on(.getUsageReportSummary) { call in
            call.now { .json(200, UsageReport(installationId: try access.installationID())) }
        }
    }

    private struct StatsEventsList: Codable, Sendable {
        struct Event: Codable, Sendable {
            var `class`: String
            var name: String
            var count: Int
        }
        var events: [Event]
    }

    private struct CommPrefsInput: Codable, Sendable {
        var email: String?
        var featureUpdates: Bool
        var securityUpdates: Bool
    }

    private struct UsageReport: Codable, Sendable {
        var installationId: String
        var reports: [[String: Int]] = []
    }

    func addMounts(_ router: inout Router) {
        @Sendable func control() throws -> any MountControl {
            guard let mounts else {
                throw LakeError(.notImplemented, "this server mounts nothing: /dev/fuse is not here")
            }
            return mounts
        }
        router.on(.listMounts) { call in
            return .respond(.json(200, MountList(mounts: try control().mounts())))
        }
        router.on(.mount) { call in
            call.json(MountMessage.self) { body in
                let repository = RepositoryID(body.repository)
                // What may be read and written is asked for path by path.
                try call.require(
                    .repository("ReadRepository", repository), .repository("ListObjects", repository))
                // It changes the server's own machine, and who looks there: no matter of one repository.
                try call.require(.all("fs:MountOnServer"))
                try MountPoint.check(body.directory, for: call.request.peer, allowed: settings.mountFolders)
                let caller = call.caller
                let (allows, isFree) = access.mountRights(of: caller, in: repository)
                try control().mount(body, for: call.user, allows: allows, isFree: isFree)
                return .json(201, body)
            }
        }
        router.on(.unmount) { call in
            let directory = try call.required("directory")
            try MountPoint.check(directory, for: call.request.peer, allowed: settings.mountFolders, isMounted: true)
            return call.work {
                try control().unmount(directory)
                return .noContent
            }
        }
    }
}
