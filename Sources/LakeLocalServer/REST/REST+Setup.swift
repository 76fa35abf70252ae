import Foundations
import LakeAPI
import Transport
import Versioning

/// What server and API describe themselves as; `version` is the lakeFS version whose answers these are.
enum Product {
    static let lakeFSVersion = "1.84.0"
}

extension REST {
    private var loginConfig: API.LoginConfig {
        API.LoginConfig(
            rbac: "internal", loginUrl: externalLogins?.openID == nil ? "" : Self.openIDStart,
            loginUrlMethod: externalLogins?.openID == nil ? "none" : "select",
            loginFailedMessage: settings.loginFailedMessage,
            loginCookieNames: [Login.cookieName], logoutUrl: "/logout")
    }

    /// The answer to somebody who has logged in: a token, and the same as a cookie.
    private func letIn(_ user: String, by origin: Login.Origin, _ call: Call) -> Response {
        let made = newToken(for: user, by: origin, call)
        var response = tokenAnswer(made)
        response.headers.append(login.cookie(made))
        return response
    }

    /// The token of somebody who has just logged in.
    /// - Parameter seconds: how long it lasts, where it is asked for.
    func newToken(for user: String, by origin: Login.Origin, seconds: Int64? = nil, _ call: Call) -> Login.Token {
        call.request.note.user = user
        return login.token(for: user, by: origin, seconds: seconds)
    }

    func tokenAnswer(_ made: Login.Token) -> Response {
        .json(200, API.AuthenticationToken(token: made.token, tokenExpiration: made.expires))
    }

    /// Calls without a login: health, set-up, login.
    func addSetup(_ router: inout Router) {
        router.on(.healthCheck) { _ in .respond(.noContent) }
        router.on(.getSetupState) { call in
            call.now {
                .json(
                    200,
                    API.SetupState(
                        state: try access.isSetUp() ? "initialized" : "not_initialized",
                        commPrefsMissing: try access.areLetterPreferencesMissing(),
                        loginConfig: loginConfig))
            }
        }
        router.on(.setup) { call in
            call.json(API.Setup.self, limit: Call.largestLogin) { body in
                guard !body.username.isEmpty else {
                    throw LakeError(.invalidValue, "username is empty: name the first user")
                }
                let given = body.key.map {
                    Credentials(
                        accessKeyID: $0.accessKeyId, secretAccessKey: $0.secretAccessKey, userName: body.username,
                        issued: .now())
                }
                let made = try access.setUp(userName: body.username, credentials: given, asksPreferences: true)
                return .json(200, withSecret(made))
            }
        }
        router.on(.login) { call in
            call.jsonSoon(API.LoginInformation.self, limit: Call.largestLogin) { body, answer in
                if let user = try login.user(accessKeyID: body.accessKeyId, secretAccessKey: body.secretAccessKey) {
                    return answer(letIn(user, by: .accessKey(body.accessKeyId), call))
                }
                let refuse = { @Sendable in
                    login.delays.run(after: login.failed(call.request, accessKeyID: body.accessKeyId)) {
                        answer(Response(Login.refusal))
                    }
                }
                guard let externalLogins, !externalLogins.passwords.isEmpty else { return refuse() }
                outside.run(for: call.request) {
                    let found = try externalLogins.user(body.accessKeyId, password: body.secretAccessKey)
                    guard let found else { throw Login.refusal }
                    return letIn(found.name, by: Login.Origin(found), call)
                } _: { response in
                    if response.status == 401 { refuse() } else { answer(response) }
                }
            }
        }
        router.on(.createLoginLink) { call in
            call.work {
                let secret = try login.oneTimeSecret(for: call.request)
                let scheme = settings.isTLS ? "https" : "http"
                let link = Link(["login", "once"], ["secret": Key(secret)])
                return .json(
                    201,
                    API.StorageURI(location: "\(scheme)://\(call.request.header("host") ?? "localhost")\(link.text)"))
            }
        }
        router.on(.getAuthCapabilities) { _ in
            .respond(.json(200, API.AuthCapabilities(inviteUser: false)))
        }
    }

    private var storage: API.StorageConfig { settings.stores[0].message }

    private static let version = API.VersionConfig(version: Product.lakeFSVersion, versionContext: "lakeFUSE")

    func addConfiguration(_ router: inout Router) {
        router.on(.getConfig) { _ in
            .respond(
                .json(
                    200,
                    API.Config(
                        versionConfig: Self.version, storageConfig: storage,
                        storageConfigList: settings.stores.count > 1 ? settings.stores.map(\.message) : [],
                        uiConfig: API.UIConfig(), capabilitiesConfig: API.CapabilitiesConfig())))
        }
        router.on(.getStorageConfig) { call in
            return .respond(.json(200, storage))
        }
        router.on(.getLakeFSVersion) { _ in .respond(.json(200, Self.version)) }
        // Seconds that an uncommitted object is safe from collection: a day.
        router.on(.getGarbageCollectionConfig) { _ in
            .respond(.json(200, API.GarbageCollectionConfig(gracePeriod: 86400)))
        }
        // Telemetry of clients: taken and dropped, nothing leaves the machine.
        router.on(.postStatsEvents) { call in
            call.json(API.StatsEventsList.self) { body in
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
        // No letters are sent: what one would like to hear of is taken once, and dropped too.
        router.on(.setupCommPrefs) { call in
            call.json(API.CommPrefsInput.self, limit: Call.largestLogin) { body in
                if let email = body.email, !email.isEmpty {
                    let parts = email.split(separator: "@", omittingEmptySubsequences: false)
                    guard parts.count == 2, parts.allSatisfy({ !$0.isEmpty }), !email.contains(" ") else {
                        throw LakeError(.invalidValue, "invalid email address")
                    }
                }
                try access.noteLetterPreferences()
                return Response(status: 200)
            }
        }
        // Calls are not counted by the month.
        router.on(.getUsageReportSummary) { call in
            call.now {
                .json(200, API.InstallationUsageReport(installationId: try access.installationID(), reports: []))
            }
        }
    }

    func addMounts(_ router: inout Router) {
        @Sendable func control() throws -> any MountControl {
            guard let mounts else {
                throw LakeError(.notImplemented, "this server mounts nothing: /dev/fuse is not here")
            }
            return mounts
        }
        router.on(.listMounts) { call in
            // Names of files, and whose mount it is, are for who mounts here.
            let isDetailed = try call.flag("details") && access.isAllowed(.all("fs:MountOnServer"), for: call.caller)
            let mounts = try control()
            return call.work { .json(200, API.MountList(mounts: mounts.mounts(isDetailed: isDetailed))) }
        }
        router.on(.mount) { call in
            call.json(API.Mount.self) { body in
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
