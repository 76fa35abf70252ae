// swift-format-ignore-file
// Made by Description/generate.py of what lies beside it: not to be changed by hand.

extension API {
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
        package func write(to json: inout JSONWriter) {
            json.object { json in
                json.memberIfPresent("force", force)
                json.member("id", id)
                json.member("ref", ref)
            }
        }
    }

    package struct TaskCreation: Message {
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

    package struct TaskInfo: Message {
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

    package struct UIConfig: Message {
        package enum CodingKeys: String, CodingKey { case customViewers = "custom_viewers" }
        package var customViewers: [CustomViewer]?
        package init(customViewers: [CustomViewer]? = nil) {
            self.customViewers = customViewers
        }
        package func write(to json: inout JSONWriter) {
            json.object { json in
                json.memberIfPresent("custom_viewers", customViewers)
            }
        }
    }

    package struct UnderlyingObjectProperties: Message {
        package enum CodingKeys: String, CodingKey { case storageClass = "storage_class" }
        package var storageClass: String?
        package init(storageClass: String? = nil) {
            self.storageClass = storageClass
        }
        package func write(to json: inout JSONWriter) {
            json.object { json in
                json.memberOrNull("storage_class", storageClass)
            }
        }
    }

    package struct UpdateObjectUserMetadata: Message {
        package enum CodingKeys: String, CodingKey { case set }
        package var set: ObjectUserMetadata
        package init(set: ObjectUserMetadata) {
            self.set = set
        }
        package func write(to json: inout JSONWriter) {
            json.object { json in
                json.member("set", set)
            }
        }
    }

    package struct UpdateToken: Message {
        package enum CodingKeys: String, CodingKey { case stagingToken = "staging_token" }
        package var stagingToken: String
        package init(stagingToken: String) {
            self.stagingToken = stagingToken
        }
        package func write(to json: inout JSONWriter) {
            json.object { json in
                json.member("staging_token", stagingToken)
            }
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
        package func write(to json: inout JSONWriter) {
            json.object { json in
                json.member("etag", etag)
                json.member("part_number", partNumber)
            }
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
        package func write(to json: inout JSONWriter) {
            json.object { json in
                json.member("copy_source", copySource)
                json.member("physical_address", physicalAddress)
            }
        }
    }

    package struct UploadPartFrom: Message {
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

    package struct UploadTo: Message {
        package enum CodingKeys: String, CodingKey { case presignedUrl = "presigned_url" }
        package var presignedUrl: String
        package init(presignedUrl: String) {
            self.presignedUrl = presignedUrl
        }
        package func write(to json: inout JSONWriter) {
            json.object { json in
                json.member("presigned_url", presignedUrl)
            }
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
        package func write(to json: inout JSONWriter) {
            json.object { json in
                json.member("count", count)
                json.member("month", month)
                json.member("year", year)
            }
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
        package func write(to json: inout JSONWriter) {
            json.object { json in
                json.member("creation_date", creationDate)
                json.memberIfPresent("email", email)
                json.memberIfPresent("friendly_name", friendlyName)
                json.member("id", id)
            }
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
        package func write(to json: inout JSONWriter) {
            json.object { json in
                json.member("id", id)
                json.memberIfPresent("invite_user", inviteUser)
            }
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
        package func write(to json: inout JSONWriter) {
            json.object { json in
                json.memberIfPresent("latest_version", latestVersion)
                json.memberIfPresent("upgrade_recommended", upgradeRecommended)
                json.memberIfPresent("upgrade_url", upgradeUrl)
                json.memberIfPresent("version", version)
                json.memberIfPresent("version_context", versionContext)
            }
        }
    }
}
