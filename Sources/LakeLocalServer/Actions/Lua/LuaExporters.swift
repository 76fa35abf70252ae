/// lakeFS's exporters of catalogs, in Lua: `lakefs/catalogexport/…`.
enum LuaExporters {
    static let texts: [(name: String, text: String)] = []
}
