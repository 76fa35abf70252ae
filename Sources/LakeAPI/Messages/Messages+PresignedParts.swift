// Uploads in parts to presigned addresses. Source: `swagger.yml`, tag experimental.

package struct PresignedUpload: Codable, Sendable {
    package var uploadId: String
    package var physicalAddress: String
    package var presignedUrls: [String]?
    package init(uploadId: String, physicalAddress: String, presignedUrls: [String]?) {
        self.uploadId = uploadId
        self.physicalAddress = physicalAddress
        self.presignedUrls = presignedUrls
    }
}

/// Names an upload beside its id.
package struct UploadAddress: Codable, Sendable {
    package var physicalAddress: String
}

package struct PartAddress: Codable, Sendable {
    package var presignedUrl: String
    package init(presignedUrl: String) { self.presignedUrl = presignedUrl }
}

package struct PresignedCompletion: Codable, Sendable {
    package struct Part: Codable, Sendable {
        package var partNumber: Int
        package var etag: String
    }
    package var physicalAddress: String
    package var parts: [Part]
    package var userMetadata: [String: String]?
    package var contentType: String?
}

/// What a part is copied from.
package struct PartCopy: Codable, Sendable {
    package struct Source: Codable, Sendable {
        package var repository: String
        package var ref: String
        package var path: String
        package var range: String?
    }
    package var physicalAddress: String
    package var copySource: Source
}
