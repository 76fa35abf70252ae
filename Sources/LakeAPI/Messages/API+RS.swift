// swift-format-ignore-file
// Made by Description/generate.py of what lies beside it: not to be changed by hand.

extension API {
    package struct RangeMetadata: Message {
        package enum CodingKeys: String, CodingKey { case id; case minKey = "min_key"; case maxKey = "max_key"; case count; case estimatedSize = "estimated_size" }
        package var id: String
        package var minKey: String
        package var maxKey: String
        package var count: Int
        package var estimatedSize: Int
        package init(id: String, minKey: String, maxKey: String, count: Int, estimatedSize: Int) {
            self.id = id
            self.minKey = minKey
            self.maxKey = maxKey
            self.count = count
            self.estimatedSize = estimatedSize
        }
        package func write(to json: inout JSONWriter) {
            json.object { json in
                json.member("count", count)
                json.member("estimated_size", estimatedSize)
                json.member("id", id)
                json.member("max_key", maxKey)
                json.member("min_key", minKey)
            }
        }
    }

    package struct Ref: Message {
        package enum CodingKeys: String, CodingKey { case id; case commitId = "commit_id" }
        package var id: String
        package var commitId: String
        package init(id: String, commitId: String) {
            self.id = id
            self.commitId = commitId
        }
        package func write(to json: inout JSONWriter) {
            json.object { json in
                json.member("commit_id", commitId)
                json.member("id", id)
            }
        }
    }

    package typealias RefList = ResultList<Ref>

    package struct RefsDump: Message {
        package enum CodingKeys: String, CodingKey { case commitsMetaRangeId = "commits_meta_range_id"; case tagsMetaRangeId = "tags_meta_range_id"; case branchesMetaRangeId = "branches_meta_range_id" }
        package var commitsMetaRangeId: String
        package var tagsMetaRangeId: String
        package var branchesMetaRangeId: String
        package init(commitsMetaRangeId: String, tagsMetaRangeId: String, branchesMetaRangeId: String) {
            self.commitsMetaRangeId = commitsMetaRangeId
            self.tagsMetaRangeId = tagsMetaRangeId
            self.branchesMetaRangeId = branchesMetaRangeId
        }
        package func write(to json: inout JSONWriter) {
            json.object { json in
                json.member("branches_meta_range_id", branchesMetaRangeId)
                json.member("commits_meta_range_id", commitsMetaRangeId)
                json.member("tags_meta_range_id", tagsMetaRangeId)
            }
        }
    }

    package struct RefsRestore: Message {
        package enum CodingKeys: String, CodingKey { case commitsMetaRangeId = "commits_meta_range_id"; case tagsMetaRangeId = "tags_meta_range_id"; case branchesMetaRangeId = "branches_meta_range_id"; case force }
        package var commitsMetaRangeId: String
        package var tagsMetaRangeId: String
        package var branchesMetaRangeId: String
        package var force: Bool?
        package init(commitsMetaRangeId: String, tagsMetaRangeId: String, branchesMetaRangeId: String, force: Bool? = nil) {
            self.commitsMetaRangeId = commitsMetaRangeId
            self.tagsMetaRangeId = tagsMetaRangeId
            self.branchesMetaRangeId = branchesMetaRangeId
            self.force = force
        }
        package func write(to json: inout JSONWriter) {
            json.object { json in
                json.member("branches_meta_range_id", branchesMetaRangeId)
                json.member("commits_meta_range_id", commitsMetaRangeId)
                json.memberIfPresent("force", force)
                json.member("tags_meta_range_id", tagsMetaRangeId)
            }
        }
    }

    package struct Repository: Message {
        package enum CodingKeys: String, CodingKey { case id; case creationDate = "creation_date"; case defaultBranch = "default_branch"; case storageId = "storage_id"; case storageNamespace = "storage_namespace"; case readOnly = "read_only" }
        package var id: String
        package var creationDate: Int64
        package var defaultBranch: String
        package var storageId: String?
        package var storageNamespace: String
        package var readOnly: Bool?
        package init(id: String, creationDate: Int64, defaultBranch: String, storageId: String? = nil, storageNamespace: String, readOnly: Bool? = nil) {
            self.id = id
            self.creationDate = creationDate
            self.defaultBranch = defaultBranch
            self.storageId = storageId
            self.storageNamespace = storageNamespace
            self.readOnly = readOnly
        }
        package func write(to json: inout JSONWriter) {
            json.object { json in
                json.member("creation_date", creationDate)
                json.member("default_branch", defaultBranch)
                json.member("id", id)
                json.memberIfPresent("read_only", readOnly)
                json.memberIfPresent("storage_id", storageId)
                json.member("storage_namespace", storageNamespace)
            }
        }
    }

    package struct RepositoryCreation: Message {
        package enum CodingKeys: String, CodingKey { case name; case storageId = "storage_id"; case storageNamespace = "storage_namespace"; case defaultBranch = "default_branch"; case sampleData = "sample_data"; case readOnly = "read_only" }
        package var name: String
        package var storageId: String?
        package var storageNamespace: String
        package var defaultBranch: String?
        package var sampleData: Bool?
        package var readOnly: Bool?
        package init(name: String, storageId: String? = nil, storageNamespace: String, defaultBranch: String? = nil, sampleData: Bool? = nil, readOnly: Bool? = nil) {
            self.name = name
            self.storageId = storageId
            self.storageNamespace = storageNamespace
            self.defaultBranch = defaultBranch
            self.sampleData = sampleData
            self.readOnly = readOnly
        }
        package func write(to json: inout JSONWriter) {
            json.object { json in
                json.memberIfPresent("default_branch", defaultBranch)
                json.member("name", name)
                json.memberIfPresent("read_only", readOnly)
                json.memberIfPresent("sample_data", sampleData)
                json.memberIfPresent("storage_id", storageId)
                json.member("storage_namespace", storageNamespace)
            }
        }
    }

    package struct RepositoryDumpStatus: Message {
        package enum CodingKeys: String, CodingKey { case id; case done; case updateTime = "update_time"; case error; case refs }
        package var id: String
        package var done: Bool
        package var updateTime: String
        package var error: String?
        package var refs: RefsDump?
        package init(id: String, done: Bool, updateTime: String, error: String? = nil, refs: RefsDump? = nil) {
            self.id = id
            self.done = done
            self.updateTime = updateTime
            self.error = error
            self.refs = refs
        }
        package func write(to json: inout JSONWriter) {
            json.object { json in
                json.member("done", done)
                json.memberIfPresent("error", error)
                json.member("id", id)
                json.memberIfPresent("refs", refs)
                json.member("update_time", updateTime)
            }
        }
    }

    package typealias RepositoryList = ResultList<Repository>

    package typealias RepositoryMetadata = [String: String]

    package struct RepositoryMetadataKeys: Message {
        package enum CodingKeys: String, CodingKey { case keys }
        package var keys: [String]
        package init(keys: [String]) {
            self.keys = keys
        }
        package func write(to json: inout JSONWriter) {
            json.object { json in
                json.member("keys", keys)
            }
        }
    }

    package struct RepositoryMetadataSet: Message {
        package enum CodingKeys: String, CodingKey { case metadata }
        package var metadata: [String: String]
        package init(metadata: [String: String]) {
            self.metadata = metadata
        }
        package func write(to json: inout JSONWriter) {
            json.object { json in
                json.member("metadata", metadata)
            }
        }
    }

    package struct RepositoryRestoreStatus: Message {
        package enum CodingKeys: String, CodingKey { case id; case done; case updateTime = "update_time"; case error }
        package var id: String
        package var done: Bool
        package var updateTime: String
        package var error: String?
        package init(id: String, done: Bool, updateTime: String, error: String? = nil) {
            self.id = id
            self.done = done
            self.updateTime = updateTime
            self.error = error
        }
        package func write(to json: inout JSONWriter) {
            json.object { json in
                json.member("done", done)
                json.memberIfPresent("error", error)
                json.member("id", id)
                json.member("update_time", updateTime)
            }
        }
    }

    package struct ResetCreation: Message {
        package enum CodingKeys: String, CodingKey { case type; case path; case force }
        package var type: String
        package var path: String?
        package var force: Bool?
        package init(type: String, path: String? = nil, force: Bool? = nil) {
            self.type = type
            self.path = path
            self.force = force
        }
        package func write(to json: inout JSONWriter) {
            json.object { json in
                json.memberIfPresent("force", force)
                json.memberIfPresent("path", path)
                json.member("type", type)
            }
        }
        package func check(_ place: Place) throws(Misfit) {
            try place.at("type").one(of: ["object", "common_prefix", "reset"], type)
        }
    }

    package struct RevertCreation: Message {
        package enum CodingKeys: String, CodingKey { case ref; case commitOverrides = "commit_overrides"; case parentNumber = "parent_number"; case force; case allowEmpty = "allow_empty" }
        package var ref: String
        package var commitOverrides: CommitOverrides?
        package var parentNumber: Int
        package var force: Bool?
        package var allowEmpty: Bool?
        package init(ref: String, commitOverrides: CommitOverrides? = nil, parentNumber: Int, force: Bool? = nil, allowEmpty: Bool? = nil) {
            self.ref = ref
            self.commitOverrides = commitOverrides
            self.parentNumber = parentNumber
            self.force = force
            self.allowEmpty = allowEmpty
        }
        package func write(to json: inout JSONWriter) {
            json.object { json in
                json.memberIfPresent("allow_empty", allowEmpty)
                json.memberIfPresent("commit_overrides", commitOverrides)
                json.memberIfPresent("force", force)
                json.member("parent_number", parentNumber)
                json.member("ref", ref)
            }
        }
    }

    package struct Setup: Message {
        package enum CodingKeys: String, CodingKey { case username; case key; case firstName; case lastName; case email; case companyName; case featureUpdates; case securityUpdates }
        package var username: String
        package var key: AccessKeyCredentials?
        package var firstName: String?
        package var lastName: String?
        package var email: String?
        package var companyName: String?
        package var featureUpdates: Bool?
        package var securityUpdates: Bool?
        package init(username: String, key: AccessKeyCredentials? = nil, firstName: String? = nil, lastName: String? = nil, email: String? = nil, companyName: String? = nil, featureUpdates: Bool? = nil, securityUpdates: Bool? = nil) {
            self.username = username
            self.key = key
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
                json.memberIfPresent("featureUpdates", featureUpdates)
                json.memberIfPresent("firstName", firstName)
                json.memberIfPresent("key", key)
                json.memberIfPresent("lastName", lastName)
                json.memberIfPresent("securityUpdates", securityUpdates)
                json.member("username", username)
            }
        }
        package func check(_ place: Place) throws(Misfit) {
            if let key { try key.check(place.at("key")) }
        }
    }

    package struct SetupState: Message {
        package enum CodingKeys: String, CodingKey { case state; case commPrefsMissing = "comm_prefs_missing"; case loginConfig = "login_config" }
        package var state: String?
        package var commPrefsMissing: Bool?
        package var loginConfig: LoginConfig?
        package init(state: String? = nil, commPrefsMissing: Bool? = nil, loginConfig: LoginConfig? = nil) {
            self.state = state
            self.commPrefsMissing = commPrefsMissing
            self.loginConfig = loginConfig
        }
        package func write(to json: inout JSONWriter) {
            json.object { json in
                json.memberIfPresent("comm_prefs_missing", commPrefsMissing)
                json.memberIfPresent("login_config", loginConfig)
                json.memberIfPresent("state", state)
            }
        }
    }

    package struct StagingLocation: Message {
        package enum CodingKeys: String, CodingKey { case physicalAddress = "physical_address"; case presignedUrl = "presigned_url"; case presignedUrlExpiry = "presigned_url_expiry" }
        package var physicalAddress: String?
        package var presignedUrl: String?
        package var presignedUrlExpiry: Int64?
        package init(physicalAddress: String? = nil, presignedUrl: String? = nil, presignedUrlExpiry: Int64? = nil) {
            self.physicalAddress = physicalAddress
            self.presignedUrl = presignedUrl
            self.presignedUrlExpiry = presignedUrlExpiry
        }
        package func write(to json: inout JSONWriter) {
            json.object { json in
                json.memberIfPresent("physical_address", physicalAddress)
                json.memberOrNull("presigned_url", presignedUrl)
                json.memberIfPresent("presigned_url_expiry", presignedUrlExpiry)
            }
        }
    }

    package struct StagingMetadata: Message {
        package enum CodingKeys: String, CodingKey { case staging; case checksum; case sizeBytes = "size_bytes"; case userMetadata = "user_metadata"; case contentType = "content_type"; case mtime; case force }
        package var staging: StagingLocation
        package var checksum: String
        package var sizeBytes: Int64
        package var userMetadata: [String: String]?
        package var contentType: String?
        package var mtime: Int64?
        package var force: Bool?
        package init(staging: StagingLocation, checksum: String, sizeBytes: Int64, userMetadata: [String: String]? = nil, contentType: String? = nil, mtime: Int64? = nil, force: Bool? = nil) {
            self.staging = staging
            self.checksum = checksum
            self.sizeBytes = sizeBytes
            self.userMetadata = userMetadata
            self.contentType = contentType
            self.mtime = mtime
            self.force = force
        }
        package func write(to json: inout JSONWriter) {
            json.object { json in
                json.member("checksum", checksum)
                json.memberIfPresent("content_type", contentType)
                json.memberIfPresent("force", force)
                json.memberIfPresent("mtime", mtime)
                json.member("size_bytes", sizeBytes)
                json.member("staging", staging)
                json.memberIfPresent("user_metadata", userMetadata)
            }
        }
    }

    package struct Statement: Message {
        package enum CodingKeys: String, CodingKey { case effect; case resource; case action; case condition }
        package var effect: String
        package var resource: String
        package var action: [String]
        package var condition: [String: PolicyCondition]?
        package init(effect: String, resource: String, action: [String], condition: [String: PolicyCondition]? = nil) {
            self.effect = effect
            self.resource = resource
            self.action = action
            self.condition = condition
        }
        package func write(to json: inout JSONWriter) {
            json.object { json in
                json.member("action", action)
                json.memberIfPresent("condition", condition)
                json.member("effect", effect)
                json.member("resource", resource)
            }
        }
        package func check(_ place: Place) throws(Misfit) {
            try place.at("effect").one(of: ["allow", "deny"], effect)
            try place.at("action").atLeast(1, action.count, "number of items")
        }
    }

    package struct StatsEvent: Message {
        package enum CodingKeys: String, CodingKey { case `class`; case name; case count }
        package var `class`: String
        package var name: String
        package var count: Int
        package init(class: String, name: String, count: Int) {
            self.`class` = `class`
            self.name = name
            self.count = count
        }
        package func write(to json: inout JSONWriter) {
            json.object { json in
                json.member("class", `class`)
                json.member("count", count)
                json.member("name", name)
            }
        }
    }

    package struct StatsEventsList: Message {
        package enum CodingKeys: String, CodingKey { case events }
        package var events: [StatsEvent]
        package init(events: [StatsEvent]) {
            self.events = events
        }
        package func write(to json: inout JSONWriter) {
            json.object { json in
                json.member("events", events)
            }
        }
    }

    package struct StorageConfig: Message {
        package enum CodingKeys: String, CodingKey { case blockstoreType = "blockstore_type"; case blockstoreNamespaceExample = "blockstore_namespace_example"; case blockstoreNamespaceValidityRegex = "blockstore_namespace_ValidityRegex"; case defaultNamespacePrefix = "default_namespace_prefix"; case preSignSupport = "pre_sign_support"; case preSignSupportUi = "pre_sign_support_ui"; case importSupport = "import_support"; case importValidityRegex = "import_validity_regex"; case preSignMultipartUpload = "pre_sign_multipart_upload"; case blockstoreId = "blockstore_id"; case blockstoreDescription = "blockstore_description" }
        package var blockstoreType: String
        package var blockstoreNamespaceExample: String
        package var blockstoreNamespaceValidityRegex: String
        package var defaultNamespacePrefix: String?
        package var preSignSupport: Bool
        package var preSignSupportUi: Bool
        package var importSupport: Bool
        package var importValidityRegex: String
        package var preSignMultipartUpload: Bool?
        package var blockstoreId: String?
        package var blockstoreDescription: String?
        package init(blockstoreType: String, blockstoreNamespaceExample: String, blockstoreNamespaceValidityRegex: String, defaultNamespacePrefix: String? = nil, preSignSupport: Bool, preSignSupportUi: Bool, importSupport: Bool, importValidityRegex: String, preSignMultipartUpload: Bool? = nil, blockstoreId: String? = nil, blockstoreDescription: String? = nil) {
            self.blockstoreType = blockstoreType
            self.blockstoreNamespaceExample = blockstoreNamespaceExample
            self.blockstoreNamespaceValidityRegex = blockstoreNamespaceValidityRegex
            self.defaultNamespacePrefix = defaultNamespacePrefix
            self.preSignSupport = preSignSupport
            self.preSignSupportUi = preSignSupportUi
            self.importSupport = importSupport
            self.importValidityRegex = importValidityRegex
            self.preSignMultipartUpload = preSignMultipartUpload
            self.blockstoreId = blockstoreId
            self.blockstoreDescription = blockstoreDescription
        }
        package func write(to json: inout JSONWriter) {
            json.object { json in
                json.memberIfPresent("blockstore_description", blockstoreDescription)
                json.memberIfPresent("blockstore_id", blockstoreId)
                json.member("blockstore_namespace_ValidityRegex", blockstoreNamespaceValidityRegex)
                json.member("blockstore_namespace_example", blockstoreNamespaceExample)
                json.member("blockstore_type", blockstoreType)
                json.memberIfPresent("default_namespace_prefix", defaultNamespacePrefix)
                json.member("import_support", importSupport)
                json.member("import_validity_regex", importValidityRegex)
                json.memberIfPresent("pre_sign_multipart_upload", preSignMultipartUpload)
                json.member("pre_sign_support", preSignSupport)
                json.member("pre_sign_support_ui", preSignSupportUi)
            }
        }
    }

    package typealias StorageConfigList = [StorageConfig]

    package struct StorageURI: Message {
        package enum CodingKeys: String, CodingKey { case location }
        package var location: String
        package init(location: String) {
            self.location = location
        }
        package func write(to json: inout JSONWriter) {
            json.object { json in
                json.member("location", location)
            }
        }
    }

    package struct StsAuthRequest: Message {
        package enum CodingKeys: String, CodingKey { case code; case state; case redirectUri = "redirect_uri"; case ttlSeconds = "ttl_seconds" }
        package var code: String
        package var state: String
        package var redirectUri: String
        package var ttlSeconds: Int64?
        package init(code: String, state: String, redirectUri: String, ttlSeconds: Int64? = nil) {
            self.code = code
            self.state = state
            self.redirectUri = redirectUri
            self.ttlSeconds = ttlSeconds
        }
        package func write(to json: inout JSONWriter) {
            json.object { json in
                json.member("code", code)
                json.member("redirect_uri", redirectUri)
                json.member("state", state)
                json.memberIfPresent("ttl_seconds", ttlSeconds)
            }
        }
    }
}
