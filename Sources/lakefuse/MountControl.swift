import LakeFUSE
import LakeLocalServer

/// The file-system door as the REST API's calls see it.
extension MountRegistry: MountControl {}
