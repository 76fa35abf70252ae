// swift-format-ignore-file
// Made by Description/generate.py of what lies beside it: not to be changed by hand.

extension API {
    package struct Diff: Message {
        package enum CodingKeys: String, CodingKey { case type; case path; case pathType = "path_type"; case sizeBytes = "size_bytes"; case right }
        package var type: String
        package var path: String
        package var pathType: String
        package var sizeBytes: Int64?
        package var right: DiffObjectStat?
        package init(type: String, path: String, pathType: String, sizeBytes: Int64? = nil, right: DiffObjectStat? = nil) {
            self.type = type
            self.path = path
            self.pathType = pathType
            self.sizeBytes = sizeBytes
            self.right = right
        }
        package func write(to json: inout JSONWriter) {
            json.object { json in
                json.member("path", path)
                json.member("path_type", pathType)
                json.memberIfPresent("right", right)
                json.memberIfPresent("size_bytes", sizeBytes)
                json.member("type", type)
            }
        }
    }

    package typealias DiffList = ResultList<Diff>

    package struct DiffObjectStat: Message {
        package enum CodingKeys: String, CodingKey { case checksum; case mtime; case contentType = "content_type"; case metadata }
        package var checksum: String
        package var mtime: Int64
        package var contentType: String
        package var metadata: ObjectUserMetadata?
        package init(checksum: String, mtime: Int64, contentType: String, metadata: ObjectUserMetadata? = nil) {
            self.checksum = checksum
            self.mtime = mtime
            self.contentType = contentType
            self.metadata = metadata
        }
        package func write(to json: inout JSONWriter) {
            json.object { json in
                json.member("checksum", checksum)
                json.member("content_type", contentType)
                json.memberIfPresent("metadata", metadata)
                json.member("mtime", mtime)
            }
        }
    }

    package struct Error: Message {
        package enum CodingKeys: String, CodingKey { case message }
        package var message: String
        package init(message: String) {
            self.message = message
        }
        package func write(to json: inout JSONWriter) {
            json.object { json in
                json.member("message", message)
            }
        }
    }

    package struct ErrorNoACL: Message {
        package enum CodingKeys: String, CodingKey { case message; case noAcl = "no_acl" }
        package var message: String
        package var noAcl: Bool?
        package init(message: String, noAcl: Bool? = nil) {
            self.message = message
            self.noAcl = noAcl
        }
        package func write(to json: inout JSONWriter) {
            json.object { json in
                json.member("message", message)
                json.memberIfPresent("no_acl", noAcl)
            }
        }
    }

    package struct ExternalLoginInformation: Message {
        package enum CodingKeys: String, CodingKey { case tokenExpirationDuration = "token_expiration_duration"; case identityRequest }
        package var tokenExpirationDuration: Int?
        package var identityRequest: [String: JSONValue]
        package init(tokenExpirationDuration: Int? = nil, identityRequest: [String: JSONValue]) {
            self.tokenExpirationDuration = tokenExpirationDuration
            self.identityRequest = identityRequest
        }
        package func write(to json: inout JSONWriter) {
            json.object { json in
                json.member("identityRequest", identityRequest)
                json.memberIfPresent("token_expiration_duration", tokenExpirationDuration)
            }
        }
    }

    package struct ExternalPrincipal: Message {
        package enum CodingKeys: String, CodingKey { case id; case userId = "user_id"; case settings }
        package var id: String
        package var userId: String
        package var settings: [String: JSONValue]?
        package init(id: String, userId: String, settings: [String: JSONValue]? = nil) {
            self.id = id
            self.userId = userId
            self.settings = settings
        }
        package func write(to json: inout JSONWriter) {
            json.object { json in
                json.member("id", id)
                json.memberIfPresent("settings", settings)
                json.member("user_id", userId)
            }
        }
    }

    package struct ExternalPrincipalCreation: Message {
        package enum CodingKeys: String, CodingKey { case settings }
        package var settings: [String: JSONValue]?
        package init(settings: [String: JSONValue]? = nil) {
            self.settings = settings
        }
        package func write(to json: inout JSONWriter) {
            json.object { json in
                json.memberIfPresent("settings", settings)
            }
        }
    }

    package typealias ExternalPrincipalList = ResultList<ExternalPrincipal>

    package typealias ExternalPrincipalSettings = [String: String]

    package struct FindMergeBaseResult: Message {
        package enum CodingKeys: String, CodingKey { case sourceCommitId = "source_commit_id"; case destinationCommitId = "destination_commit_id"; case baseCommitId = "base_commit_id" }
        package var sourceCommitId: String
        package var destinationCommitId: String
        package var baseCommitId: String
        package init(sourceCommitId: String, destinationCommitId: String, baseCommitId: String) {
            self.sourceCommitId = sourceCommitId
            self.destinationCommitId = destinationCommitId
            self.baseCommitId = baseCommitId
        }
        package func write(to json: inout JSONWriter) {
            json.object { json in
                json.member("base_commit_id", baseCommitId)
                json.member("destination_commit_id", destinationCommitId)
                json.member("source_commit_id", sourceCommitId)
            }
        }
    }

    package struct GarbageCollectionConfig: Message {
        package enum CodingKeys: String, CodingKey { case gracePeriod = "grace_period" }
        package var gracePeriod: Int?
        package init(gracePeriod: Int? = nil) {
            self.gracePeriod = gracePeriod
        }
        package func write(to json: inout JSONWriter) {
            json.object { json in
                json.memberIfPresent("grace_period", gracePeriod)
            }
        }
    }

    package struct GarbageCollectionPrepareResponse: Message {
        package enum CodingKeys: String, CodingKey { case runId = "run_id"; case gcCommitsLocation = "gc_commits_location"; case gcAddressesLocation = "gc_addresses_location"; case gcCommitsPresignedUrl = "gc_commits_presigned_url" }
        package var runId: String
        package var gcCommitsLocation: String
        package var gcAddressesLocation: String
        package var gcCommitsPresignedUrl: String?
        package init(runId: String, gcCommitsLocation: String, gcAddressesLocation: String, gcCommitsPresignedUrl: String? = nil) {
            self.runId = runId
            self.gcCommitsLocation = gcCommitsLocation
            self.gcAddressesLocation = gcAddressesLocation
            self.gcCommitsPresignedUrl = gcCommitsPresignedUrl
        }
        package func write(to json: inout JSONWriter) {
            json.object { json in
                json.member("gc_addresses_location", gcAddressesLocation)
                json.member("gc_commits_location", gcCommitsLocation)
                json.memberIfPresent("gc_commits_presigned_url", gcCommitsPresignedUrl)
                json.member("run_id", runId)
            }
        }
    }

    package struct GarbageCollectionRule: Message {
        package enum CodingKeys: String, CodingKey { case branchId = "branch_id"; case retentionDays = "retention_days" }
        package var branchId: String
        package var retentionDays: Int
        package init(branchId: String, retentionDays: Int) {
            self.branchId = branchId
            self.retentionDays = retentionDays
        }
        package func write(to json: inout JSONWriter) {
            json.object { json in
                json.member("branch_id", branchId)
                json.member("retention_days", retentionDays)
            }
        }
    }

    package struct GarbageCollectionRules: Message {
        package enum CodingKeys: String, CodingKey { case defaultRetentionDays = "default_retention_days"; case branches }
        package var defaultRetentionDays: Int
        package var branches: [GarbageCollectionRule]
        package init(defaultRetentionDays: Int, branches: [GarbageCollectionRule]) {
            self.defaultRetentionDays = defaultRetentionDays
            self.branches = branches
        }
        package func write(to json: inout JSONWriter) {
            json.object { json in
                json.member("branches", branches)
                json.member("default_retention_days", defaultRetentionDays)
            }
        }
    }

    package struct Group: Message {
        package enum CodingKeys: String, CodingKey { case id; case name; case description; case creationDate = "creation_date" }
        package var id: String
        package var name: String?
        package var description: String?
        package var creationDate: Int64
        package init(id: String, name: String? = nil, description: String? = nil, creationDate: Int64) {
            self.id = id
            self.name = name
            self.description = description
            self.creationDate = creationDate
        }
        package func write(to json: inout JSONWriter) {
            json.object { json in
                json.member("creation_date", creationDate)
                json.memberIfPresent("description", description)
                json.member("id", id)
                json.memberIfPresent("name", name)
            }
        }
    }

    package struct GroupCreation: Message {
        package enum CodingKeys: String, CodingKey { case id; case description }
        package var id: String
        package var description: String?
        package init(id: String, description: String? = nil) {
            self.id = id
            self.description = description
        }
        package func write(to json: inout JSONWriter) {
            json.object { json in
                json.memberIfPresent("description", description)
                json.member("id", id)
            }
        }
    }

    package typealias GroupList = ResultList<Group>

    package struct HookRun: Message {
        package enum CodingKeys: String, CodingKey { case hookRunId = "hook_run_id"; case action; case hookId = "hook_id"; case startTime = "start_time"; case endTime = "end_time"; case status }
        package var hookRunId: String
        package var action: String
        package var hookId: String
        package var startTime: String
        package var endTime: String?
        package var status: String
        package init(hookRunId: String, action: String, hookId: String, startTime: String, endTime: String? = nil, status: String) {
            self.hookRunId = hookRunId
            self.action = action
            self.hookId = hookId
            self.startTime = startTime
            self.endTime = endTime
            self.status = status
        }
        package func write(to json: inout JSONWriter) {
            json.object { json in
                json.member("action", action)
                json.memberIfPresent("end_time", endTime)
                json.member("hook_id", hookId)
                json.member("hook_run_id", hookRunId)
                json.member("start_time", startTime)
                json.member("status", status)
            }
        }
    }

    package typealias HookRunList = ResultList<HookRun>

    package struct ImportCreation: Message {
        package enum CodingKeys: String, CodingKey { case paths; case commit; case force }
        package var paths: [ImportLocation]
        package var commit: CommitCreation
        package var force: Bool?
        package init(paths: [ImportLocation], commit: CommitCreation, force: Bool? = nil) {
            self.paths = paths
            self.commit = commit
            self.force = force
        }
        package func write(to json: inout JSONWriter) {
            json.object { json in
                json.member("commit", commit)
                json.memberIfPresent("force", force)
                json.member("paths", paths)
            }
        }
        package func check(_ place: Place) throws(Misfit) {
            for (index, item) in paths.enumerated() { try item.check(place.at("paths").at(index)) }
        }
    }

    package struct ImportCreationResponse: Message {
        package enum CodingKeys: String, CodingKey { case id }
        package var id: String
        package init(id: String) {
            self.id = id
        }
        package func write(to json: inout JSONWriter) {
            json.object { json in
                json.member("id", id)
            }
        }
    }

    package struct ImportLocation: Message {
        package enum CodingKeys: String, CodingKey { case type; case path; case destination }
        package var type: String
        package var path: String
        package var destination: String
        package init(type: String, path: String, destination: String) {
            self.type = type
            self.path = path
            self.destination = destination
        }
        package func write(to json: inout JSONWriter) {
            json.object { json in
                json.member("destination", destination)
                json.member("path", path)
                json.member("type", type)
            }
        }
        package func check(_ place: Place) throws(Misfit) {
            try place.at("type").one(of: ["common_prefix", "object"], type)
        }
    }

    package struct ImportStatus: Message {
        package enum CodingKeys: String, CodingKey { case completed; case updateTime = "update_time"; case ingestedObjects = "ingested_objects"; case metarangeId = "metarange_id"; case commit; case error }
        package var completed: Bool
        package var updateTime: String
        package var ingestedObjects: Int64?
        package var metarangeId: String?
        package var commit: Commit?
        package var error: Error?
        package init(completed: Bool, updateTime: String, ingestedObjects: Int64? = nil, metarangeId: String? = nil, commit: Commit? = nil, error: Error? = nil) {
            self.completed = completed
            self.updateTime = updateTime
            self.ingestedObjects = ingestedObjects
            self.metarangeId = metarangeId
            self.commit = commit
            self.error = error
        }
        package func write(to json: inout JSONWriter) {
            json.object { json in
                json.memberIfPresent("commit", commit)
                json.member("completed", completed)
                json.memberIfPresent("error", error)
                json.memberIfPresent("ingested_objects", ingestedObjects)
                json.memberIfPresent("metarange_id", metarangeId)
                json.member("update_time", updateTime)
            }
        }
    }

    package struct InstallationUsageReport: Message {
        package enum CodingKeys: String, CodingKey { case installationId = "installation_id"; case reports }
        package var installationId: String
        package var reports: [UsageReport]
        package init(installationId: String, reports: [UsageReport]) {
            self.installationId = installationId
            self.reports = reports
        }
        package func write(to json: inout JSONWriter) {
            json.object { json in
                json.member("installation_id", installationId)
                json.member("reports", reports)
            }
        }
    }

    package struct License: Message {
        package enum CodingKeys: String, CodingKey { case token }
        package var token: String
        package init(token: String) {
            self.token = token
        }
        package func write(to json: inout JSONWriter) {
            json.object { json in
                json.member("token", token)
            }
        }
    }

    package struct LoginConfig: Message {
        package enum CodingKeys: String, CodingKey { case rbac = "RBAC"; case usernameUiPlaceholder = "username_ui_placeholder"; case passwordUiPlaceholder = "password_ui_placeholder"; case loginUrl = "login_url"; case loginUrlMethod = "login_url_method"; case loginFailedMessage = "login_failed_message"; case fallbackLoginUrl = "fallback_login_url"; case fallbackLoginLabel = "fallback_login_label"; case loginCookieNames = "login_cookie_names"; case logoutUrl = "logout_url" }
        package var rbac: String?
        package var usernameUiPlaceholder: String?
        package var passwordUiPlaceholder: String?
        package var loginUrl: String
        package var loginUrlMethod: String?
        package var loginFailedMessage: String?
        package var fallbackLoginUrl: String?
        package var fallbackLoginLabel: String?
        package var loginCookieNames: [String]
        package var logoutUrl: String
        package init(rbac: String? = nil, usernameUiPlaceholder: String? = nil, passwordUiPlaceholder: String? = nil, loginUrl: String, loginUrlMethod: String? = nil, loginFailedMessage: String? = nil, fallbackLoginUrl: String? = nil, fallbackLoginLabel: String? = nil, loginCookieNames: [String], logoutUrl: String) {
            self.rbac = rbac
            self.usernameUiPlaceholder = usernameUiPlaceholder
            self.passwordUiPlaceholder = passwordUiPlaceholder
            self.loginUrl = loginUrl
            self.loginUrlMethod = loginUrlMethod
            self.loginFailedMessage = loginFailedMessage
            self.fallbackLoginUrl = fallbackLoginUrl
            self.fallbackLoginLabel = fallbackLoginLabel
            self.loginCookieNames = loginCookieNames
            self.logoutUrl = logoutUrl
        }
        package func write(to json: inout JSONWriter) {
            json.object { json in
                json.memberIfPresent("RBAC", rbac)
                json.memberIfPresent("fallback_login_label", fallbackLoginLabel)
                json.memberIfPresent("fallback_login_url", fallbackLoginUrl)
                json.member("login_cookie_names", loginCookieNames)
                json.memberIfPresent("login_failed_message", loginFailedMessage)
                json.member("login_url", loginUrl)
                json.memberIfPresent("login_url_method", loginUrlMethod)
                json.member("logout_url", logoutUrl)
                json.memberIfPresent("password_ui_placeholder", passwordUiPlaceholder)
                json.memberIfPresent("username_ui_placeholder", usernameUiPlaceholder)
            }
        }
    }

    package struct LoginInformation: Message {
        package enum CodingKeys: String, CodingKey { case accessKeyId = "access_key_id"; case secretAccessKey = "secret_access_key" }
        package var accessKeyId: String
        package var secretAccessKey: String
        package init(accessKeyId: String, secretAccessKey: String) {
            self.accessKeyId = accessKeyId
            self.secretAccessKey = secretAccessKey
        }
        package func write(to json: inout JSONWriter) {
            json.object { json in
                json.member("access_key_id", accessKeyId)
                json.member("secret_access_key", secretAccessKey)
            }
        }
    }
}
