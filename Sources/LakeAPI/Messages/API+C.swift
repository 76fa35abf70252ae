// swift-format-ignore-file
// Made by Description/generate.py of what lies beside it: not to be changed by hand.

extension API {
    package struct CapabilitiesConfig: Message {
        package init() {
        }
        package func write(to json: inout JSONWriter) {
            json.object { _ in }
        }
    }

    package struct CherryPickCreation: Message {
        package enum CodingKeys: String, CodingKey { case ref; case parentNumber = "parent_number"; case commitOverrides = "commit_overrides"; case force }
        package var ref: String
        package var parentNumber: Int?
        package var commitOverrides: CommitOverrides?
        package var force: Bool?
        package init(ref: String, parentNumber: Int? = nil, commitOverrides: CommitOverrides? = nil, force: Bool? = nil) {
            self.ref = ref
            self.parentNumber = parentNumber
            self.commitOverrides = commitOverrides
            self.force = force
        }
        package func write(to json: inout JSONWriter) {
            json.object { json in
                json.memberIfPresent("commit_overrides", commitOverrides)
                json.memberIfPresent("force", force)
                json.memberIfPresent("parent_number", parentNumber)
                json.member("ref", ref)
            }
        }
    }

    package struct CommPrefsInput: Message {
        package enum CodingKeys: String, CodingKey { case firstName; case lastName; case email; case companyName; case featureUpdates; case securityUpdates }
        package var firstName: String?
        package var lastName: String?
        package var email: String?
        package var companyName: String?
        package var featureUpdates: Bool
        package var securityUpdates: Bool
        package init(firstName: String? = nil, lastName: String? = nil, email: String? = nil, companyName: String? = nil, featureUpdates: Bool, securityUpdates: Bool) {
            self.firstName = firstName
            self.lastName = lastName
            self.email = email
            self.companyName = companyName
            self.featureUpdates = featureUpdates
            self.securityUpdates = securityUpdates
        }
        package func write(to json: inout JSONWriter) {
            json.object { json in
                json.memberIfPresent("companyName", companyName)
                json.memberIfPresent("email", email)
                json.member("featureUpdates", featureUpdates)
                json.memberIfPresent("firstName", firstName)
                json.memberIfPresent("lastName", lastName)
                json.member("securityUpdates", securityUpdates)
            }
        }
    }

    package struct Commit: Message {
        package enum CodingKeys: String, CodingKey { case id; case parents; case committer; case message; case creationDate = "creation_date"; case metaRangeId = "meta_range_id"; case metadata; case generation; case version }
        package var id: String
        package var parents: [String]
        package var committer: String
        package var message: String
        package var creationDate: Int64
        package var metaRangeId: String
        package var metadata: [String: String]?
        package var generation: Int64?
        package var version: Int?
        package init(id: String, parents: [String], committer: String, message: String, creationDate: Int64, metaRangeId: String, metadata: [String: String]? = nil, generation: Int64? = nil, version: Int? = nil) {
            self.id = id
            self.parents = parents
            self.committer = committer
            self.message = message
            self.creationDate = creationDate
            self.metaRangeId = metaRangeId
            self.metadata = metadata
            self.generation = generation
            self.version = version
        }
        package func write(to json: inout JSONWriter) {
            json.object { json in
                json.member("committer", committer)
                json.member("creation_date", creationDate)
                json.memberIfPresent("generation", generation)
                json.member("id", id)
                json.member("message", message)
                json.member("meta_range_id", metaRangeId)
                json.memberIfPresent("metadata", metadata)
                json.member("parents", parents)
                json.memberIfPresent("version", version)
            }
        }
    }

    package struct CommitAsyncStatus: Message {
        package enum CodingKeys: String, CodingKey { case taskId = "task_id"; case completed; case updateTime = "update_time"; case error; case statusCode = "status_code"; case result }
        package var taskId: String
        package var completed: Bool
        package var updateTime: String
        package var error: Error?
        package var statusCode: Int?
        package var result: Commit?
        package init(taskId: String, completed: Bool, updateTime: String, error: Error? = nil, statusCode: Int? = nil, result: Commit? = nil) {
            self.taskId = taskId
            self.completed = completed
            self.updateTime = updateTime
            self.error = error
            self.statusCode = statusCode
            self.result = result
        }
        package func write(to json: inout JSONWriter) {
            json.object { json in
                json.member("completed", completed)
                json.memberIfPresent("error", error)
                json.memberIfPresent("result", result)
                json.memberIfPresent("status_code", statusCode)
                json.member("task_id", taskId)
                json.member("update_time", updateTime)
            }
        }
    }

    package struct CommitCreation: Message {
        package enum CodingKeys: String, CodingKey { case message; case metadata; case date; case allowEmpty = "allow_empty"; case force }
        package var message: String
        package var metadata: [String: String]?
        package var date: Int64?
        package var allowEmpty: Bool?
        package var force: Bool?
        package init(message: String, metadata: [String: String]? = nil, date: Int64? = nil, allowEmpty: Bool? = nil, force: Bool? = nil) {
            self.message = message
            self.metadata = metadata
            self.date = date
            self.allowEmpty = allowEmpty
            self.force = force
        }
        package func write(to json: inout JSONWriter) {
            json.object { json in
                json.memberIfPresent("allow_empty", allowEmpty)
                json.memberIfPresent("date", date)
                json.memberIfPresent("force", force)
                json.member("message", message)
                json.memberIfPresent("metadata", metadata)
            }
        }
    }

    package typealias CommitList = ResultList<Commit>

    package struct CommitOverrides: Message {
        package enum CodingKeys: String, CodingKey { case message; case metadata }
        package var message: String?
        package var metadata: [String: String]?
        package init(message: String? = nil, metadata: [String: String]? = nil) {
            self.message = message
            self.metadata = metadata
        }
        package func write(to json: inout JSONWriter) {
            json.object { json in
                json.memberIfPresent("message", message)
                json.memberIfPresent("metadata", metadata)
            }
        }
    }

    package struct CommitRecordCreation: Message {
        package enum CodingKeys: String, CodingKey { case commitId = "commit_id"; case version; case committer; case message; case metarangeId = "metarange_id"; case creationDate = "creation_date"; case parents; case metadata; case generation; case force }
        package var commitId: String
        package var version: Int
        package var committer: String
        package var message: String
        package var metarangeId: String
        package var creationDate: Int64
        package var parents: [String]
        package var metadata: [String: String]?
        package var generation: Int64
        package var force: Bool?
        package init(commitId: String, version: Int, committer: String, message: String, metarangeId: String, creationDate: Int64, parents: [String], metadata: [String: String]? = nil, generation: Int64, force: Bool? = nil) {
            self.commitId = commitId
            self.version = version
            self.committer = committer
            self.message = message
            self.metarangeId = metarangeId
            self.creationDate = creationDate
            self.parents = parents
            self.metadata = metadata
            self.generation = generation
            self.force = force
        }
        package func write(to json: inout JSONWriter) {
            json.object { json in
                json.member("commit_id", commitId)
                json.member("committer", committer)
                json.member("creation_date", creationDate)
                json.memberIfPresent("force", force)
                json.member("generation", generation)
                json.member("message", message)
                json.memberIfPresent("metadata", metadata)
                json.member("metarange_id", metarangeId)
                json.member("parents", parents)
                json.member("version", version)
            }
        }
        package func check(_ place: Place) throws(Misfit) {
            try place.at("version").within(0, 1, Int64(version))
        }
    }

    package struct CompletePresignMultipartUpload: Message {
        package enum CodingKeys: String, CodingKey { case physicalAddress = "physical_address"; case parts; case userMetadata = "user_metadata"; case contentType = "content_type" }
        package var physicalAddress: String
        package var parts: [UploadPart]
        package var userMetadata: [String: String]?
        package var contentType: String?
        package init(physicalAddress: String, parts: [UploadPart], userMetadata: [String: String]? = nil, contentType: String? = nil) {
            self.physicalAddress = physicalAddress
            self.parts = parts
            self.userMetadata = userMetadata
            self.contentType = contentType
        }
        package func write(to json: inout JSONWriter) {
            json.object { json in
                json.memberIfPresent("content_type", contentType)
                json.member("parts", parts)
                json.member("physical_address", physicalAddress)
                json.memberIfPresent("user_metadata", userMetadata)
            }
        }
    }

    package struct Config: Message {
        package enum CodingKeys: String, CodingKey { case versionConfig = "version_config"; case storageConfig = "storage_config"; case storageConfigList = "storage_config_list"; case uiConfig = "ui_config"; case capabilitiesConfig = "capabilities_config" }
        package var versionConfig: VersionConfig?
        package var storageConfig: StorageConfig?
        package var storageConfigList: StorageConfigList?
        package var uiConfig: UIConfig?
        package var capabilitiesConfig: CapabilitiesConfig?
        package init(versionConfig: VersionConfig? = nil, storageConfig: StorageConfig? = nil, storageConfigList: StorageConfigList? = nil, uiConfig: UIConfig? = nil, capabilitiesConfig: CapabilitiesConfig? = nil) {
            self.versionConfig = versionConfig
            self.storageConfig = storageConfig
            self.storageConfigList = storageConfigList
            self.uiConfig = uiConfig
            self.capabilitiesConfig = capabilitiesConfig
        }
        package func write(to json: inout JSONWriter) {
            json.object { json in
                json.memberIfPresent("capabilities_config", capabilitiesConfig)
                json.memberIfPresent("storage_config", storageConfig)
                json.memberIfPresent("storage_config_list", storageConfigList)
                json.memberIfPresent("ui_config", uiConfig)
                json.memberIfPresent("version_config", versionConfig)
            }
        }
    }

    package struct CopyPartSource: Message {
        package enum CodingKeys: String, CodingKey { case repository; case ref; case path; case range }
        package var repository: String
        package var ref: String
        package var path: String
        package var range: String?
        package init(repository: String, ref: String, path: String, range: String? = nil) {
            self.repository = repository
            self.ref = ref
            self.path = path
            self.range = range
        }
        package func write(to json: inout JSONWriter) {
            json.object { json in
                json.member("path", path)
                json.memberIfPresent("range", range)
                json.member("ref", ref)
                json.member("repository", repository)
            }
        }
    }

    package struct Credentials: Message {
        package enum CodingKeys: String, CodingKey { case accessKeyId = "access_key_id"; case creationDate = "creation_date" }
        package var accessKeyId: String
        package var creationDate: Int64
        package init(accessKeyId: String, creationDate: Int64) {
            self.accessKeyId = accessKeyId
            self.creationDate = creationDate
        }
        package func write(to json: inout JSONWriter) {
            json.object { json in
                json.member("access_key_id", accessKeyId)
                json.member("creation_date", creationDate)
            }
        }
    }

    package typealias CredentialsList = ResultList<Credentials>

    package struct CredentialsWithSecret: Message {
        package enum CodingKeys: String, CodingKey { case accessKeyId = "access_key_id"; case secretAccessKey = "secret_access_key"; case creationDate = "creation_date" }
        package var accessKeyId: String
        package var secretAccessKey: String
        package var creationDate: Int64
        package init(accessKeyId: String, secretAccessKey: String, creationDate: Int64) {
            self.accessKeyId = accessKeyId
            self.secretAccessKey = secretAccessKey
            self.creationDate = creationDate
        }
        package func write(to json: inout JSONWriter) {
            json.object { json in
                json.member("access_key_id", accessKeyId)
                json.member("creation_date", creationDate)
                json.member("secret_access_key", secretAccessKey)
            }
        }
    }

    package struct CurrentUser: Message {
        package enum CodingKeys: String, CodingKey { case user }
        package var user: User
        package init(user: User) {
            self.user = user
        }
        package func write(to json: inout JSONWriter) {
            json.object { json in
                json.member("user", user)
            }
        }
    }

    package struct CustomViewer: Message {
        package enum CodingKeys: String, CodingKey { case name; case url; case extensions; case contentTypes = "content_types" }
        package var name: String
        package var url: String
        package var extensions: [String]?
        package var contentTypes: [String]?
        package init(name: String, url: String, extensions: [String]? = nil, contentTypes: [String]? = nil) {
            self.name = name
            self.url = url
            self.extensions = extensions
            self.contentTypes = contentTypes
        }
        package func write(to json: inout JSONWriter) {
            json.object { json in
                json.memberIfPresent("content_types", contentTypes)
                json.memberIfPresent("extensions", extensions)
                json.member("name", name)
                json.member("url", url)
            }
        }
    }
}
