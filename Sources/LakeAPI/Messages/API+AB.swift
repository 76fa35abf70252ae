// swift-format-ignore-file
// Made by Description/generate.py of what lies beside it: not to be changed by hand.

extension API {
    package struct ACL: Message {
        package enum CodingKeys: String, CodingKey { case permission }
        package var permission: String
        package init(permission: String) {
            self.permission = permission
        }
        package func write(to json: inout JSONWriter) {
            json.object { json in
                json.member("permission", permission)
            }
        }
    }

    package struct AbortPresignMultipartUpload: Message {
        package enum CodingKeys: String, CodingKey { case physicalAddress = "physical_address" }
        package var physicalAddress: String
        package init(physicalAddress: String) {
            self.physicalAddress = physicalAddress
        }
        package func write(to json: inout JSONWriter) {
            json.object { json in
                json.member("physical_address", physicalAddress)
            }
        }
    }

    package struct AccessKeyCredentials: Message {
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
        package func check(_ place: Place) throws(Misfit) {
            try place.at("access_key_id").atLeast(1, accessKeyId.utf8.count, "string length")
            try place.at("secret_access_key").atLeast(1, secretAccessKey.utf8.count, "string length")
        }
    }

    package struct ActionRun: Message {
        package enum CodingKeys: String, CodingKey { case runId = "run_id"; case branch; case startTime = "start_time"; case endTime = "end_time"; case eventType = "event_type"; case status; case commitId = "commit_id" }
        package var runId: String
        package var branch: String
        package var startTime: String
        package var endTime: String?
        package var eventType: String
        package var status: String
        package var commitId: String
        package init(runId: String, branch: String, startTime: String, endTime: String? = nil, eventType: String, status: String, commitId: String) {
            self.runId = runId
            self.branch = branch
            self.startTime = startTime
            self.endTime = endTime
            self.eventType = eventType
            self.status = status
            self.commitId = commitId
        }
        package func write(to json: inout JSONWriter) {
            json.object { json in
                json.member("branch", branch)
                json.member("commit_id", commitId)
                json.memberIfPresent("end_time", endTime)
                json.member("event_type", eventType)
                json.member("run_id", runId)
                json.member("start_time", startTime)
                json.member("status", status)
            }
        }
    }

    package typealias ActionRunList = ResultList<ActionRun>

    package struct AuthCapabilities: Message {
        package enum CodingKeys: String, CodingKey { case inviteUser = "invite_user"; case forgotPassword = "forgot_password" }
        package var inviteUser: Bool?
        package var forgotPassword: Bool?
        package init(inviteUser: Bool? = nil, forgotPassword: Bool? = nil) {
            self.inviteUser = inviteUser
            self.forgotPassword = forgotPassword
        }
        package func write(to json: inout JSONWriter) {
            json.object { json in
                json.memberIfPresent("forgot_password", forgotPassword)
                json.memberIfPresent("invite_user", inviteUser)
            }
        }
    }

    package struct AuthenticationToken: Message {
        package enum CodingKeys: String, CodingKey { case token; case tokenExpiration = "token_expiration" }
        package var token: String
        package var tokenExpiration: Int64?
        package init(token: String, tokenExpiration: Int64? = nil) {
            self.token = token
            self.tokenExpiration = tokenExpiration
        }
        package func write(to json: inout JSONWriter) {
            json.object { json in
                json.member("token", token)
                json.memberIfPresent("token_expiration", tokenExpiration)
            }
        }
    }

    package struct BranchCreation: Message {
        package enum CodingKeys: String, CodingKey { case name; case source; case force; case hidden }
        package var name: String
        package var source: String
        package var force: Bool?
        package var hidden: Bool?
        package init(name: String, source: String, force: Bool? = nil, hidden: Bool? = nil) {
            self.name = name
            self.source = source
            self.force = force
            self.hidden = hidden
        }
        package func write(to json: inout JSONWriter) {
            json.object { json in
                json.memberIfPresent("force", force)
                json.memberIfPresent("hidden", hidden)
                json.member("name", name)
                json.member("source", source)
            }
        }
    }

    package struct BranchProtectionRule: Message {
        package enum CodingKeys: String, CodingKey { case pattern }
        package var pattern: String
        package init(pattern: String) {
            self.pattern = pattern
        }
        package func write(to json: inout JSONWriter) {
            json.object { json in
                json.member("pattern", pattern)
            }
        }
        package func check(_ place: Place) throws(Misfit) {
            try place.at("pattern").atLeast(1, pattern.utf8.count, "string length")
        }
    }
}
