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
    }

    package struct Ref: Message {
        package enum CodingKeys: String, CodingKey { case id; case commitId = "commit_id" }
        package var id: String
        package var commitId: String
        package init(id: String, commitId: String) {
            self.id = id
            self.commitId = commitId
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
    }

    package typealias RepositoryList = ResultList<Repository>

    package typealias RepositoryMetadata = [String: String]

    package struct RepositoryMetadataKeys: Message {
        package enum CodingKeys: String, CodingKey { case keys }
        package var keys: [String]
        package init(keys: [String]) {
            self.keys = keys
        }
    }

    package struct RepositoryMetadataSet: Message {
        package enum CodingKeys: String, CodingKey { case metadata }
        package var metadata: [String: String]
        package init(metadata: [String: String]) {
            self.metadata = metadata
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
        /// What may be null is told as null where there is none.
        package func encode(to encoder: any Encoder) throws {
            var container = encoder.container(keyedBy: CodingKeys.self)
            try container.encodeIfPresent(physicalAddress, forKey: .physicalAddress)
            try container.encode(presignedUrl, forKey: .presignedUrl)
            try container.encodeIfPresent(presignedUrlExpiry, forKey: .presignedUrlExpiry)
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
    }

    package struct StatsEventsList: Message {
        package enum CodingKeys: String, CodingKey { case events }
        package var events: [StatsEvent]
        package init(events: [StatsEvent]) {
            self.events = events
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
    }

    package typealias StorageConfigList = [StorageConfig]

    package struct StorageURI: Message {
        package enum CodingKeys: String, CodingKey { case location }
        package var location: String
        package init(location: String) {
            self.location = location
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
    }

    package struct TagCreation: Message {
        package enum CodingKeys: String, CodingKey { case id; case ref; case force }
        package var id: String
        package var ref: String
        package var force: Bool?
        package init(id: String, ref: String, force: Bool? = nil) {
            self.id = id
            self.ref = ref
            self.force = force
        }
    }

    package struct TaskCreation: Message {
        package enum CodingKeys: String, CodingKey { case id }
        package var id: String
        package init(id: String) {
            self.id = id
        }
    }

    package struct TaskInfo: Message {
        package enum CodingKeys: String, CodingKey { case id }
        package var id: String
        package init(id: String) {
            self.id = id
        }
    }

    package struct UIConfig: Message {
        package enum CodingKeys: String, CodingKey { case customViewers = "custom_viewers" }
        package var customViewers: [CustomViewer]?
        package init(customViewers: [CustomViewer]? = nil) {
            self.customViewers = customViewers
        }
    }

    package struct UnderlyingObjectProperties: Message {
        package enum CodingKeys: String, CodingKey { case storageClass = "storage_class" }
        package var storageClass: String?
        package init(storageClass: String? = nil) {
            self.storageClass = storageClass
        }
        /// What may be null is told as null where there is none.
        package func encode(to encoder: any Encoder) throws {
            var container = encoder.container(keyedBy: CodingKeys.self)
            try container.encode(storageClass, forKey: .storageClass)
        }
    }

    package struct UpdateObjectUserMetadata: Message {
        package enum CodingKeys: String, CodingKey { case set }
        package var set: ObjectUserMetadata
        package init(set: ObjectUserMetadata) {
            self.set = set
        }
    }

    package struct UpdateToken: Message {
        package enum CodingKeys: String, CodingKey { case stagingToken = "staging_token" }
        package var stagingToken: String
        package init(stagingToken: String) {
            self.stagingToken = stagingToken
        }
    }

    package struct UploadPart: Message {
        package enum CodingKeys: String, CodingKey { case partNumber = "part_number"; case etag }
        package var partNumber: Int
        package var etag: String
        package init(partNumber: Int, etag: String) {
            self.partNumber = partNumber
            self.etag = etag
        }
    }

    package struct UploadPartCopyFrom: Message {
        package enum CodingKeys: String, CodingKey { case physicalAddress = "physical_address"; case copySource = "copy_source" }
        package var physicalAddress: String
        package var copySource: CopyPartSource
        package init(physicalAddress: String, copySource: CopyPartSource) {
            self.physicalAddress = physicalAddress
            self.copySource = copySource
        }
    }

    package struct UploadPartFrom: Message {
        package enum CodingKeys: String, CodingKey { case physicalAddress = "physical_address" }
        package var physicalAddress: String
        package init(physicalAddress: String) {
            self.physicalAddress = physicalAddress
        }
    }

    package struct UploadTo: Message {
        package enum CodingKeys: String, CodingKey { case presignedUrl = "presigned_url" }
        package var presignedUrl: String
        package init(presignedUrl: String) {
            self.presignedUrl = presignedUrl
        }
    }

    package struct UsageReport: Message {
        package enum CodingKeys: String, CodingKey { case year; case month; case count }
        package var year: Int
        package var month: Int
        package var count: Int64
        package init(year: Int, month: Int, count: Int64) {
            self.year = year
            self.month = month
            self.count = count
        }
    }

    package struct User: Message {
        package enum CodingKeys: String, CodingKey { case id; case creationDate = "creation_date"; case friendlyName = "friendly_name"; case email }
        package var id: String
        package var creationDate: Int64
        package var friendlyName: String?
        package var email: String?
        package init(id: String, creationDate: Int64, friendlyName: String? = nil, email: String? = nil) {
            self.id = id
            self.creationDate = creationDate
            self.friendlyName = friendlyName
            self.email = email
        }
    }

    package struct UserCreation: Message {
        package enum CodingKeys: String, CodingKey { case id; case inviteUser = "invite_user" }
        package var id: String
        package var inviteUser: Bool?
        package init(id: String, inviteUser: Bool? = nil) {
            self.id = id
            self.inviteUser = inviteUser
        }
    }

    package typealias UserList = ResultList<User>

    package struct VersionConfig: Message {
        package enum CodingKeys: String, CodingKey { case version; case versionContext = "version_context"; case latestVersion = "latest_version"; case upgradeRecommended = "upgrade_recommended"; case upgradeUrl = "upgrade_url" }
        package var version: String?
        package var versionContext: String?
        package var latestVersion: String?
        package var upgradeRecommended: Bool?
        package var upgradeUrl: String?
        package init(version: String? = nil, versionContext: String? = nil, latestVersion: String? = nil, upgradeRecommended: Bool? = nil, upgradeUrl: String? = nil) {
            self.version = version
            self.versionContext = versionContext
            self.latestVersion = latestVersion
            self.upgradeRecommended = upgradeRecommended
            self.upgradeUrl = upgradeUrl
        }
    }
}
