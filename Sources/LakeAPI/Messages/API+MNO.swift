// swift-format-ignore-file
// Made by Description/generate.py of what lies beside it: not to be changed by hand.

extension API {
    package struct Merge: Message {
        package enum CodingKeys: String, CodingKey { case message; case metadata; case strategy; case force; case allowEmpty = "allow_empty"; case squashMerge = "squash_merge" }
        package var message: String?
        package var metadata: [String: String]?
        package var strategy: String?
        package var force: Bool?
        package var allowEmpty: Bool?
        package var squashMerge: Bool?
        package init(message: String? = nil, metadata: [String: String]? = nil, strategy: String? = nil, force: Bool? = nil, allowEmpty: Bool? = nil, squashMerge: Bool? = nil) {
            self.message = message
            self.metadata = metadata
            self.strategy = strategy
            self.force = force
            self.allowEmpty = allowEmpty
            self.squashMerge = squashMerge
        }
        package func write(to json: inout JSONWriter) {
            json.object { json in
                json.memberIfPresent("allow_empty", allowEmpty)
                json.memberIfPresent("force", force)
                json.memberIfPresent("message", message)
                json.memberIfPresent("metadata", metadata)
                json.memberIfPresent("squash_merge", squashMerge)
                json.memberIfPresent("strategy", strategy)
            }
        }
    }

    package struct MergeAsyncStatus: Message {
        package enum CodingKeys: String, CodingKey { case taskId = "task_id"; case completed; case updateTime = "update_time"; case error; case statusCode = "status_code"; case result }
        package var taskId: String
        package var completed: Bool
        package var updateTime: String
        package var error: Error?
        package var statusCode: Int?
        package var result: MergeResult?
        package init(taskId: String, completed: Bool, updateTime: String, error: Error? = nil, statusCode: Int? = nil, result: MergeResult? = nil) {
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

    package struct MergeConflict: Message {
        package enum CodingKeys: String, CodingKey { case message; case reference; case conflicts }
        package var message: String
        package var reference: String
        package var conflicts: [String]
        package init(message: String, reference: String, conflicts: [String]) {
            self.message = message
            self.reference = reference
            self.conflicts = conflicts
        }
        package func write(to json: inout JSONWriter) {
            json.object { json in
                json.member("conflicts", conflicts)
                json.member("message", message)
                json.member("reference", reference)
            }
        }
    }

    package struct MergeResult: Message {
        package enum CodingKeys: String, CodingKey { case reference }
        package var reference: String
        package init(reference: String) {
            self.reference = reference
        }
        package func write(to json: inout JSONWriter) {
            json.object { json in
                json.member("reference", reference)
            }
        }
    }

    package struct MetaRangeCreation: Message {
        package enum CodingKeys: String, CodingKey { case ranges }
        package var ranges: [RangeMetadata]
        package init(ranges: [RangeMetadata]) {
            self.ranges = ranges
        }
        package func write(to json: inout JSONWriter) {
            json.object { json in
                json.member("ranges", ranges)
            }
        }
    }

    package struct MetaRangeCreationResponse: Message {
        package enum CodingKeys: String, CodingKey { case id }
        package var id: String?
        package init(id: String? = nil) {
            self.id = id
        }
        package func write(to json: inout JSONWriter) {
            json.object { json in
                json.memberIfPresent("id", id)
            }
        }
    }

    package struct Mount: Message {
        package enum CodingKeys: String, CodingKey { case repository; case ref; case directory; case readOnly = "read_only"; case syncOnClose = "sync_on_close"; case noOpen = "no_open"; case prefix; case uid; case gid; case umask; case allowOther = "allow_other"; case user; case unpublishedFiles = "unpublished_files"; case unpublishedBytes = "unpublished_bytes"; case openFiles = "open_files"; case problems }
        package var repository: String
        package var ref: String
        package var directory: String
        package var readOnly: Bool?
        package var syncOnClose: Bool?
        package var noOpen: Bool?
        package var prefix: String?
        package var uid: Int?
        package var gid: Int?
        package var umask: Int?
        package var allowOther: Bool?
        package var user: String?
        package var unpublishedFiles: Int64?
        package var unpublishedBytes: Int64?
        package var openFiles: Int64?
        package var problems: [String]?
        package init(repository: String, ref: String, directory: String, readOnly: Bool? = nil, syncOnClose: Bool? = nil, noOpen: Bool? = nil, prefix: String? = nil, uid: Int? = nil, gid: Int? = nil, umask: Int? = nil, allowOther: Bool? = nil, user: String? = nil, unpublishedFiles: Int64? = nil, unpublishedBytes: Int64? = nil, openFiles: Int64? = nil, problems: [String]? = nil) {
            self.repository = repository
            self.ref = ref
            self.directory = directory
            self.readOnly = readOnly
            self.syncOnClose = syncOnClose
            self.noOpen = noOpen
            self.prefix = prefix
            self.uid = uid
            self.gid = gid
            self.umask = umask
            self.allowOther = allowOther
            self.user = user
            self.unpublishedFiles = unpublishedFiles
            self.unpublishedBytes = unpublishedBytes
            self.openFiles = openFiles
            self.problems = problems
        }
        package func write(to json: inout JSONWriter) {
            json.object { json in
                json.memberIfPresent("allow_other", allowOther)
                json.member("directory", directory)
                json.memberIfPresent("gid", gid)
                json.memberIfPresent("no_open", noOpen)
                json.memberIfPresent("open_files", openFiles)
                json.memberIfPresent("prefix", prefix)
                json.memberIfPresent("problems", problems)
                json.memberIfPresent("read_only", readOnly)
                json.member("ref", ref)
                json.member("repository", repository)
                json.memberIfPresent("sync_on_close", syncOnClose)
                json.memberIfPresent("uid", uid)
                json.memberIfPresent("umask", umask)
                json.memberIfPresent("unpublished_bytes", unpublishedBytes)
                json.memberIfPresent("unpublished_files", unpublishedFiles)
                json.memberIfPresent("user", user)
            }
        }
        package func check(_ place: Place) throws(Misfit) {
            if let uid { try place.at("uid").within(0, 4294967295, Int64(uid)) }
            if let gid { try place.at("gid").within(0, 4294967295, Int64(gid)) }
            if let umask { try place.at("umask").within(0, 4294967295, Int64(umask)) }
        }
    }

    package struct MountList: Message {
        package enum CodingKeys: String, CodingKey { case mounts }
        package var mounts: [Mount]
        package init(mounts: [Mount]) {
            self.mounts = mounts
        }
        package func write(to json: inout JSONWriter) {
            json.object { json in
                json.member("mounts", mounts)
            }
        }
    }

    package struct ObjectCopyCreation: Message {
        package enum CodingKeys: String, CodingKey { case srcPath = "src_path"; case srcRef = "src_ref"; case force; case shallow }
        package var srcPath: String
        package var srcRef: String?
        package var force: Bool?
        package var shallow: Bool?
        package init(srcPath: String, srcRef: String? = nil, force: Bool? = nil, shallow: Bool? = nil) {
            self.srcPath = srcPath
            self.srcRef = srcRef
            self.force = force
            self.shallow = shallow
        }
        package func write(to json: inout JSONWriter) {
            json.object { json in
                json.memberIfPresent("force", force)
                json.memberIfPresent("shallow", shallow)
                json.member("src_path", srcPath)
                json.memberIfPresent("src_ref", srcRef)
            }
        }
    }

    package struct ObjectError: Message {
        package enum CodingKeys: String, CodingKey { case statusCode = "status_code"; case message; case path }
        package var statusCode: Int
        package var message: String
        package var path: String?
        package init(statusCode: Int, message: String, path: String? = nil) {
            self.statusCode = statusCode
            self.message = message
            self.path = path
        }
        package func write(to json: inout JSONWriter) {
            json.object { json in
                json.member("message", message)
                json.memberIfPresent("path", path)
                json.member("status_code", statusCode)
            }
        }
    }

    package struct ObjectErrorList: Message {
        package enum CodingKeys: String, CodingKey { case errors }
        package var errors: [ObjectError]
        package init(errors: [ObjectError]) {
            self.errors = errors
        }
        package func write(to json: inout JSONWriter) {
            json.object { json in
                json.member("errors", errors)
            }
        }
    }

    package struct ObjectStageCreation: Message {
        package enum CodingKeys: String, CodingKey { case physicalAddress = "physical_address"; case checksum; case sizeBytes = "size_bytes"; case mtime; case metadata; case contentType = "content_type"; case force }
        package var physicalAddress: String
        package var checksum: String
        package var sizeBytes: Int64
        package var mtime: Int64?
        package var metadata: ObjectUserMetadata?
        package var contentType: String?
        package var force: Bool?
        package init(physicalAddress: String, checksum: String, sizeBytes: Int64, mtime: Int64? = nil, metadata: ObjectUserMetadata? = nil, contentType: String? = nil, force: Bool? = nil) {
            self.physicalAddress = physicalAddress
            self.checksum = checksum
            self.sizeBytes = sizeBytes
            self.mtime = mtime
            self.metadata = metadata
            self.contentType = contentType
            self.force = force
        }
        package func write(to json: inout JSONWriter) {
            json.object { json in
                json.member("checksum", checksum)
                json.memberIfPresent("content_type", contentType)
                json.memberIfPresent("force", force)
                json.memberIfPresent("metadata", metadata)
                json.memberIfPresent("mtime", mtime)
                json.member("physical_address", physicalAddress)
                json.member("size_bytes", sizeBytes)
            }
        }
    }

    package struct ObjectStats: Message {
        package enum CodingKeys: String, CodingKey { case path; case pathType = "path_type"; case physicalAddress = "physical_address"; case physicalAddressExpiry = "physical_address_expiry"; case checksum; case sizeBytes = "size_bytes"; case mtime; case metadata; case contentType = "content_type" }
        package var path: String
        package var pathType: String
        package var physicalAddress: String
        package var physicalAddressExpiry: Int64?
        package var checksum: String
        package var sizeBytes: Int64?
        package var mtime: Int64
        package var metadata: ObjectUserMetadata?
        package var contentType: String?
        package init(path: String, pathType: String, physicalAddress: String, physicalAddressExpiry: Int64? = nil, checksum: String, sizeBytes: Int64? = nil, mtime: Int64, metadata: ObjectUserMetadata? = nil, contentType: String? = nil) {
            self.path = path
            self.pathType = pathType
            self.physicalAddress = physicalAddress
            self.physicalAddressExpiry = physicalAddressExpiry
            self.checksum = checksum
            self.sizeBytes = sizeBytes
            self.mtime = mtime
            self.metadata = metadata
            self.contentType = contentType
        }
        package func write(to json: inout JSONWriter) {
            json.object { json in
                json.member("checksum", checksum)
                json.memberIfPresent("content_type", contentType)
                json.memberIfPresent("metadata", metadata)
                json.member("mtime", mtime)
                json.member("path", path)
                json.member("path_type", pathType)
                json.member("physical_address", physicalAddress)
                json.memberIfPresent("physical_address_expiry", physicalAddressExpiry)
                json.memberIfPresent("size_bytes", sizeBytes)
            }
        }
    }

    package typealias ObjectStatsList = ResultList<ObjectStats>

    package typealias ObjectUserMetadata = [String: String]
}
