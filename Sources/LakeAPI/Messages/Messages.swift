import Foundations

// The messages of the REST API. Property names become the API's by snake case; absent optional ones are left out.
// Source: the public OpenAPI description, `shared/reference/lakefs-openapi/swagger.yml`.

package struct Pagination: Codable, Sendable {
    package var hasMore: Bool
    package var maxPerPage = 1000
    package var nextOffset: String
    package var results: Int
}

/// One page of a listing.
package struct ResultList<Item: Codable & Sendable>: Codable, Sendable {
    package var pagination: Pagination
    package var results: [Item]

    /// - Parameters:
    ///   - maxPerPage: what is told of the longest page; lakeFS tells 0 of users and what they have.
    ///   - next: names the last item, for the following page.
    package init(_ results: [Item], hasMore: Bool, maxPerPage: Int = 1000, next: (Item) -> String) {
        self.results = results
        pagination = Pagination(
            hasMore: hasMore, maxPerPage: maxPerPage, nextOffset: hasMore ? results.last.map(next) ?? "" : "",
            results: results.count)
    }
}

package struct ErrorMessage: Codable, Sendable {
    package var message: String
    package init(message: String) { self.message = message }
}

package struct RepositoryMessage: Codable, Sendable {
    package var id: String
    package var creationDate: Int64
    package var defaultBranch: String
    package var storageId: String
    package var storageNamespace: String
    package var readOnly: Bool
    package init(
        id: String, creationDate: Int64, defaultBranch: String, storageId: String, storageNamespace: String,
        readOnly: Bool
    ) {
        self.id = id
        self.creationDate = creationDate
        self.defaultBranch = defaultBranch
        self.storageId = storageId
        self.storageNamespace = storageNamespace
        self.readOnly = readOnly
    }
}

package struct RepositoryCreation: Codable, Sendable {
    package var name: String
    package var storageNamespace: String
    package var defaultBranch: String?
    package var storageId: String?
    package var sampleData: Bool?
    package var readOnly: Bool?
    package init(name: String, storageNamespace: String, defaultBranch: String?) {
        self.name = name
        self.storageNamespace = storageNamespace
        self.defaultBranch = defaultBranch
    }
}

/// A branch or a tag.
package struct RefMessage: Codable, Sendable {
    package var id: String
    package var commitId: String
    package init(id: String, commitId: String) {
        self.id = id
        self.commitId = commitId
    }
}

package struct BranchCreation: Codable, Sendable {
    package var name: String
    package var source: String
    package var force: Bool?
    package var hidden: Bool?
    package init(name: String, source: String) {
        self.name = name
        self.source = source
    }
}

package struct TagCreation: Codable, Sendable {
    package var id: String
    package var ref: String
    package var force: Bool?
    package init(id: String, ref: String, force: Bool?) {
        self.id = id
        self.ref = ref
        self.force = force
    }
}

package struct CommitMessage: Codable, Sendable {
    package var id: String
    package var parents: [String]
    package var committer: String
    package var message: String
    package var creationDate: Int64
    package var metaRangeId: String
    package var metadata: [String: String]
    package var generation: Int64
    package var version: Int

    package init(
        id: String, parents: [String], committer: String, message: String, creationDate: Int64, metaRangeId: String,
        metadata: [String: String], generation: Int64, version: Int
    ) {
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
}

package struct CommitCreation: Codable, Sendable {
    package var message: String
    package var metadata: [String: String]?
    package var date: Int64?
    package var allowEmpty: Bool?
    package var force: Bool?
    package init(message: String, metadata: [String: String]?, date: Int64?, allowEmpty: Bool?) {
        self.message = message
        self.metadata = metadata
        self.date = date
        self.allowEmpty = allowEmpty
    }
}

package struct CommitRecordCreation: Codable, Sendable {
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
}

package struct CommitOverrides: Codable, Sendable {
    package var message: String?
    package var metadata: [String: String]?
}

package struct RevertCreation: Codable, Sendable {
    package var ref: String
    package var parentNumber: Int
    package var commitOverrides: CommitOverrides?
    package var force: Bool?
    package var allowEmpty: Bool?
}

package struct CherryPickCreation: Codable, Sendable {
    package var ref: String
    package var parentNumber: Int?
    package var commitOverrides: CommitOverrides?
    package var force: Bool?
}

package struct ResetCreation: Codable, Sendable {
    package var type: String
    package var path: String?
    package var force: Bool?
    package init(type: String, path: String?) {
        self.type = type
        self.path = path
    }
}

package struct MergeCreation: Codable, Sendable {
    package var message: String?
    package var metadata: [String: String]?
    package var strategy: String?
    package var force: Bool?
    package var allowEmpty: Bool?
    package var squashMerge: Bool?
    package init() {}
}

package struct MergeResult: Codable, Sendable {
    package var reference: String
    package init(reference: String) { self.reference = reference }
}

/// What a merge that was refused says: the paths that both sides changed.
package struct MergeConflict: Codable, Sendable {
    package var message: String
    package var reference: String
    package var conflicts: [String]
    package init(message: String, conflicts: [String]) {
        self.message = message
        reference = ""
        self.conflicts = conflicts
    }
}

package struct MergeBaseMessage: Codable, Sendable {
    package var sourceCommitId: String
    package var destinationCommitId: String
    package var baseCommitId: String
    package init(sourceCommitId: String, destinationCommitId: String, baseCommitId: String) {
        self.sourceCommitId = sourceCommitId
        self.destinationCommitId = destinationCommitId
        self.baseCommitId = baseCommitId
    }
}

package struct DiffMessage: Codable, Sendable {
    package struct RightStats: Codable, Sendable {
        package var sizeBytes: Int64
        package var mtime: Int64
        package var checksum: String
        package var metadata: [String: String]
        package var contentType: String
    }
    package var type: String
    package var path: String
    package var pathType: String
    package var sizeBytes: Int64?
    package var right: RightStats?
}

package struct ObjectStats: Codable, Sendable {
    package var path: String
    package var pathType: String
    package var physicalAddress: String
    package var checksum: String
    package var mtime: Int64
    package var sizeBytes: Int64?
    package var metadata: [String: String]?
    package var contentType: String?

    package init(
        path: String, pathType: String, physicalAddress: String, checksum: String, mtime: Int64, sizeBytes: Int64?,
        metadata: [String: String]?, contentType: String?
    ) {
        self.path = path
        self.pathType = pathType
        self.physicalAddress = physicalAddress
        self.checksum = checksum
        self.mtime = mtime
        self.sizeBytes = sizeBytes
        self.metadata = metadata
        self.contentType = contentType
    }
}

package struct PathList: Codable, Sendable {
    package var paths: [String]
    package init(paths: [String]) { self.paths = paths }
}

package struct ObjectErrorList: Codable, Sendable {
    package struct ObjectError: Codable, Sendable {
        package var statusCode: Int
        package var message: String
        package var path: String?
        package init(statusCode: Int, message: String, path: String?) {
            self.statusCode = statusCode
            self.message = message
            self.path = path
        }
    }
    package var errors: [ObjectError]
    package init(errors: [ObjectError]) { self.errors = errors }
}

package struct ObjectCopyCreation: Codable, Sendable {
    package var srcPath: String
    package var srcRef: String?
    package var force: Bool?
    package var shallow: Bool?
}

package struct UserMetadataUpdate: Codable, Sendable {
    package var set: [String: String]
}

package struct UnderlyingProperties: Codable, Sendable {
    package var storageClass: String?
    package init(storageClass: String?) { self.storageClass = storageClass }

    /// The class is told even where there is none.
    package func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(storageClass, forKey: .storageClass)
    }
}

package struct StagingLocation: Codable, Sendable {
    package var physicalAddress: String?
    package var presignedUrl: String?
    package var presignedUrlExpiry: Int64?
    package init(physicalAddress: String?, presignedUrl: String? = nil, presignedUrlExpiry: Int64? = nil) {
        self.physicalAddress = physicalAddress
        self.presignedUrl = presignedUrl
        self.presignedUrlExpiry = presignedUrlExpiry
    }

    /// The presigned address is told even where there is none.
    package func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encodeIfPresent(physicalAddress, forKey: .physicalAddress)
        try container.encode(presignedUrl, forKey: .presignedUrl)
        try container.encodeIfPresent(presignedUrlExpiry, forKey: .presignedUrlExpiry)
    }
}

package struct StagingMetadata: Codable, Sendable {
    package var staging: StagingLocation
    package var checksum: String
    package var sizeBytes: Int64
    package var userMetadata: [String: String]?
    package var contentType: String?
    package var mtime: Int64?
    package var force: Bool?
}

package struct ObjectStageCreation: Codable, Sendable, NamedAsSent {
    private enum CodingKeys: String, CodingKey {
        case physicalAddress = "physical_address"
        case checksum
        case sizeBytes = "size_bytes"
        case mtime, metadata
        case contentType = "content_type"
        case force
    }
    package var physicalAddress: String
    package var checksum: String
    package var sizeBytes: Int64
    package var mtime: Int64?
    package var metadata: [String: String]?
    package var contentType: String?
    package var force: Bool?

    /// An object that is there, at another path or with another description.
    package init(_ object: ObjectStats) {
        physicalAddress = object.physicalAddress
        checksum = object.checksum
        sizeBytes = object.sizeBytes ?? 0
        mtime = object.mtime
        metadata = object.metadata
        contentType = object.contentType
    }
}

package struct BranchProtectionRule: Codable, Sendable {
    package var pattern: String
    package init(pattern: String) { self.pattern = pattern }
}

package struct RepositoryMetadataSet: Codable, Sendable { package var metadata: [String: String] }
package struct RepositoryMetadataKeys: Codable, Sendable { package var keys: [String] }

package struct SetupCreation: Codable, Sendable {
    package struct Key: Codable, Sendable {
        package var accessKeyId: String
        package var secretAccessKey: String
    }
    package var username: String
    package var key: Key?
}

/// A mount of this server: LakeFUSE's own, not part of lakeFS's API.
package struct MountMessage: Codable, Sendable {
    package var repository: String
    package var ref: String
    /// An absolute path on the server's machine.
    package var directory: String
    package var readOnly: Bool?
    /// Whether a close returns when the file is on disk.
    package var syncOnClose: Bool?
    /// Whether files are opened and closed without a request: of what never changes.
    package var noOpen: Bool?
    /// The folder of the ref that is shown; all of it without one.
    package var prefix: String?
    /// Who owns what says nothing of an owner, and the permissions that it does not have.
    package var uid: UInt32?
    package var gid: UInt32?
    package var umask: UInt32?
    /// Whether other users may look, where the server is not root's.
    package var allowOther: Bool?
    package init(repository: String, ref: String, directory: String, readOnly: Bool?) {
        self.repository = repository
        self.ref = ref
        self.directory = directory
        self.readOnly = readOnly
    }
}

package struct MountList: Codable, Sendable {
    package var mounts: [MountMessage]
    package init(mounts: [MountMessage]) { self.mounts = mounts }
}
