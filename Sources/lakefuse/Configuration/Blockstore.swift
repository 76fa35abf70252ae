import FoundationEssentials
import Foundations
import LakeLocalServer
import S3Backend
import Transport

/// One store of objects, as `blockstore.*` or an item of `blockstores.stores` sets it up.
struct Blockstore {
    /// `id`, `description`, `backward_compatible` of an item: what repositories name it by; whether those that name none
    /// are in it.
    var id = "", description = "", isBackwardCompatible = false
    /// `local`, `mem`, `s3`, `gs`, `azure`.
    var type = "local"
    /// `local.path`: a folder; `<data>/objects` if empty.
    var path = ""
    /// `local.import_enabled`, `local.allowed_external_prefixes` (comma-separated folders): what imports may name.
    var isImportEnabled = false, allowedExternalPrefixes: [String] = []
    /// Folders outside of the store that may be read.
    var externalPrefixes: [String] { isImportEnabled ? allowedExternalPrefixes : [] }

    /// `s3.*`. Its key pair: `s3.credentials.access_key_id` and `.secret_access_key`, or what Amazon's own clients look
    /// for.
    var s3 = S3ObjectStore.Settings()
    var s3Identity = AWSIdentity.Settings()

    /// `disable_pre_signed`, `disable_pre_signed_multipart`, `pre_signed_expiry` of the engine in use.
    var isPresignDisabled = false, isPresignMultipartDisabled = false
    var presignSeconds: Int64 = 15 * 60
    /// `disable_pre_signed_ui`.
    var isPresignDisabledInPages = true
    /// Of lakeFS's, without effect here.
    var logsRequests = false, logsRetries = false

    /// `gs.*`: `credentials_file` or `credentials_json` is a service account's key; without either, the machine's.
    var gcs = GCSObjectStore.Settings()
    var gcsCredentialsFile = "", gcsCredentialsJSON = ""
    /// Of lakeFS's, without effect here: the JSON interface is spoken.
    var gcsS3Endpoint = "https://storage.googleapis.com"
    /// Whether the service asks for no login, as those of tests.
    var isGCSAnonymous = false

    /// `azure.*`: without a `storage_access_key`, the machine's identity.
    var azure = AzureObjectStore.Settings()
    var isAzureChina = false
    /// Of lakeFS's, without effect here: what there is to log in with says how.
    var azureAuthMethod = "", azureTryTimeout: Int64 = 600

    /// What this process was called with.
    var environment: [String: String] = [:]

    /// The scheme of its locations.
    var scheme: String { type == "azure" ? "https" : type }

    /// As answers tell it.
    var told: StoreSettings {
        var told = StoreSettings()
        (told.id, told.description, told.type, told.scheme) = (id, description, type, scheme)
        told.example =
            type == "azure"
            ? "https://\(azure.account).blob.core.windows.net/example-container/" : "\(scheme)://example-bucket/"
        told.isImportEnabled = isImportEnabled || !["local", "mem"].contains(type)
        told.isPresigned = !isPresignDisabled
        told.isPresignedInPages = !isPresignDisabled && !isPresignDisabledInPages
        // Where the store has none of its own, they are this server's.
        told.arePartsPresigned = !isPresignMultipartDisabled
        told.presignSeconds = presignSeconds
        return told
    }

    /// The folder of the objects, where they are files.
    func folder(in directory: DataDirectory) -> String {
        path.isEmpty ? directory.path + "/objects" : Files.absolute(path)
    }

    mutating func note(environment: [String: String]) {
        self.environment = environment
        s3Identity.environment = environment
    }

    /// Settings of one store: those of `blockstore`, and of each item of `blockstores.stores`.
    static let settings: [Setting] =
        [
            .choice("blockstore.type", \.blockstore.type, ["local", "mem", "s3", "gs", "azure"]),
            .text("blockstore.local.path", \.blockstore.path),
            .flag("blockstore.local.import_enabled", \.blockstore.isImportEnabled),
            .list("blockstore.local.allowed_external_prefixes", \.blockstore.allowedExternalPrefixes),
            .address("blockstore.s3.endpoint", \.blockstore.s3.endpoint),
            .flag("blockstore.s3.force_path_style", \.blockstore.s3.forcesPathStyle),
            .text("blockstore.s3.region", \.blockstore.s3.region),
            .flag("blockstore.s3.discover_bucket_region", \.blockstore.s3.discoversRegions),
            .number("blockstore.s3.max_retries", \.blockstore.s3.mostRetries, most: 50),
            .address("blockstore.s3.pre_signed_endpoint", \.blockstore.s3.presignEndpoint),
            .text("blockstore.s3.server_side_encryption", \.blockstore.s3.encryption),
            .text("blockstore.s3.server_side_encryption_kms_key_id", \.blockstore.s3.encryptionKey),
            .flag("blockstore.s3.skip_verify_certificate_test_only", \.blockstore.s3.skipsVerification),
            .number("blockstore.s3.part_size_bytes", \.blockstore.s3.partSize, 5 << 20, most: 512 << 20),
            .text("blockstore.s3.credentials_file", \.blockstore.s3Identity.credentialsFile),
            .text("blockstore.s3.profile", \.blockstore.s3Identity.profile),
            .text("blockstore.s3.credentials.access_key_id", \.blockstore.s3Identity.accessKeyID),
            .secret("blockstore.s3.credentials.secret_access_key", \.blockstore.s3Identity.secretAccessKey),
            .secret("blockstore.s3.credentials.session_token", \.blockstore.s3Identity.sessionToken),
            .address("blockstore.s3.sts_endpoint", \.blockstore.s3Identity.stsEndpoint),
            .time("blockstore.s3.web_identity.session_duration", \.blockstore.s3Identity.sessionSeconds),
            .time("blockstore.s3.web_identity.session_expiry_window", \.blockstore.s3Identity.windowSeconds),
            .flag("blockstore.s3.client_log_request", \.blockstore.logsRequests),
            .flag("blockstore.s3.client_log_retries", \.blockstore.logsRetries),
            .address("blockstore.gs.endpoint", \.blockstore.gcs.endpoint),
            .address("blockstore.gs.s3_endpoint", \.blockstore.gcsS3Endpoint),
            .text("blockstore.gs.credentials_file", \.blockstore.gcsCredentialsFile),
            .secret("blockstore.gs.credentials_json", \.blockstore.gcsCredentialsJSON),
            .flag("blockstore.gs.anonymous", \.blockstore.isGCSAnonymous),
            .text("blockstore.gs.server_side_encryption_kms_key_id", \.blockstore.gcs.encryptionKey),
            .text("blockstore.azure.storage_account", \.blockstore.azure.account),
            .secret("blockstore.azure.storage_access_key", \.blockstore.azure.key),
            .text("blockstore.azure.domain", \.blockstore.azure.domain),
            .flag("blockstore.azure.china_cloud", \.blockstore.isAzureChina),
            .address("blockstore.azure.test_endpoint_url", \.blockstore.azure.testEndpoint),
            .text("blockstore.azure.auth_method", \.blockstore.azureAuthMethod),
            .time("blockstore.azure.try_timeout", \.blockstore.azureTryTimeout),
        ]
        + ["s3", "gs", "azure"].flatMap { engine in
            [
                .flag("blockstore.\(engine).disable_pre_signed", \.blockstore.isPresignDisabled),
                .flag("blockstore.\(engine).disable_pre_signed_ui", \.blockstore.isPresignDisabledInPages),
                .flag(
                    "blockstore.\(engine).disable_pre_signed_multipart", \.blockstore.isPresignMultipartDisabled),
                .duration("blockstore.\(engine).pre_signed_expiry", \.blockstore.presignSeconds),
            ]
        }
}
