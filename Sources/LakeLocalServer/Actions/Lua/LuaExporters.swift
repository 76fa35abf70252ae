/// Exporters of catalogs, in Lua, by lakeFS's names (documentation, "Data Catalogs Export", "Lua library reference"). What
/// they write lies under `_lakefs/exported/REF/COMMIT/` of a storage namespace, or of another place that is given.
enum LuaExporters {
    static let texts: [(name: String, text: String)] = [
        ("internal", internalPackage), ("tables", tables), ("symlinks", symlinks), ("glue", glue), ("delta", delta),
        ("unity", unity),
    ]

    private static let internalPackage = #"""
        local loaded = package.loaded
        local internal = {}

        function internal.deepcopy(value)
            if type(value) ~= "table" then return value end
            local copy = {}
            for key, item in next, value do copy[internal.deepcopy(key)] = internal.deepcopy(item) end
            return setmetatable(copy, internal.deepcopy(getmetatable(value)))
        end

        function internal.short_digest(digest, length) return digest:sub(1, length or 6) end

        -- What an event is about.
        function internal.ref_from_branch_or_tag(info)
            local ref = info.branch_id
            if ref == nil or ref == "" then ref = info.tag_id end
            if ref == nil or ref == "" then error("the event '" .. tostring(info.event_type) .. "' is about no branch and no tag", 2) end
            return ref
        end

        function internal.parse_storage_uri(uri)
            local protocol, bucket, key = uri:match("^(%w+)://([^/]*)/?(.*)$")
            if protocol == nil then error("'" .. tostring(uri) .. "' is no address of an object store", 2) end
            return {protocol = protocol, bucket = bucket, key = key}
        end

        function internal.get_storage_uri_prefix(namespace, commit_id, info)
            local base = namespace:gsub("/+$", "")
            return base .. "/_lakefs/exported/" .. internal.ref_from_branch_or_tag(info) .. "/"
                .. internal.short_digest(commit_id) .. "/"
        end

        function internal.sortedKeys(t, order)
            local keys = {}
            for key in pairs(t) do keys[#keys + 1] = key end
            table.sort(keys, order)
            return keys
        end

        -- Pages of a listing: `call` is given what comes after, and answers a code and a page.
        function internal.lakefs_paginiated_api(call, after)
            local next_offset, has_more = after or "", true
            return function()
                if not has_more then return nil end
                local code, page = call(next_offset)
                if code < 200 or code >= 300 then
                    error("lakeFS answered " .. tostring(code) .. ": " .. tostring(page and page.message))
                end
                has_more = page.pagination.has_more
                next_offset = page.pagination.next_offset
                return page.results
            end
        end

        function internal.lakefs_object_pager(client, repository, commit_id, after, prefix, delimiter, page_size)
            return internal.lakefs_paginiated_api(function(offset)
                return client.list_objects(repository, commit_id, offset, prefix or "", delimiter or "", page_size or 30)
            end, after)
        end

        loaded["lakefs/catalogexport/internal"] = internal
        """#

    private static let tables = #"""
        local loaded = package.loaded
        local internal, path = loaded["lakefs/catalogexport/internal"], loaded["path"]
        local yaml, strings = loaded["encoding/yaml"], loaded["strings"]
        local folder = "_lakefs_tables/"
        local extractor, hive = {}, {}

        -- The descriptors of tables, those that are hidden left out.
        function extractor.list_table_descriptor_entries(client, repository, commit_id)
            local entries = {}
            for page in internal.lakefs_object_pager(client, repository, commit_id, "", folder, "") do
                for _, entry in ipairs(page) do
                    local isFile = entry.path_type == "object" and strings.has_suffix(entry.path, ".yaml")
                    if isFile and not path.is_hidden(entry.path:sub(#folder + 1)) then
                        entries[#entries + 1] = {physical_address = entry.physical_address, path = entry.path}
                    end
                end
            end
            return entries
        end

        function extractor.get_table_descriptor(client, repository, commit_id, logical_path)
            local code, text = client.get_object(repository, commit_id, logical_path)
            if code ~= 200 then error("no table descriptor " .. logical_path .. " at " .. commit_id .. ": HTTP " .. tostring(code), 2) end
            local descriptor = yaml.unmarshal(text)
            if type(descriptor) ~= "table" then error("the table descriptor " .. logical_path .. " is no map", 2) end
            descriptor.partition_columns = descriptor.partition_columns or {}
            return descriptor
        end

        -- Where the descriptor of a table is, which may be named without its ending.
        function internal.descriptor_path(folder, name)
            if not strings.has_suffix(name, ".yaml") then name = name .. ".yaml" end
            return (folder:gsub("/+$", "")) .. "/" .. name
        end

        function internal.require_type(descriptor, kind, deed)
            if descriptor.type == kind then return end
            error("the table " .. tostring(descriptor.name) .. " is of type '" .. tostring(descriptor.type) .. "': " .. kind .. " " .. deed, 3)
        end

        -- `a=1/b=2/` of a path below a table's, for the columns in their order.
        local function partition(base, columns, full)
            local found = {}
            for part in full:sub(#base + 1):gmatch("([^/]+)/") do
                local name, value = part:match("^([^=]+)=(.*)$")
                if name ~= nil then found[name] = value end
            end
            local key = ""
            for _, column in ipairs(columns) do
                if found[column] == nil then
                    error("the path " .. full .. " has no value for the partition column " .. column)
                end
                key = key .. column .. "=" .. found[column] .. "/"
            end
            return key
        end

        -- Files of one partition after the other, in the order of their paths.
        function hive.extract_partition_pager(client, repository, commit_id, base_path, partition_columns, page_size)
            local base = base_path
            if base ~= "" and not strings.has_suffix(base, "/") then base = base .. "/" end
            local pages = internal.lakefs_object_pager(client, repository, commit_id, "", base, "", page_size)
            local page, index = pages(), 1
            local function current()
                while page ~= nil and index > #page do page, index = pages(), 1 end
                return page and page[index]
            end
            return function()
                local key, entries
                while true do
                    local entry = current()
                    if entry == nil then break end
                    local isData = not path.is_hidden(entry.path:sub(#base + 1))
                    if isData then
                        local own = partition(base, partition_columns, entry.path)
                        if key == nil then key, entries = own, {} end
                        if own ~= key then break end
                        entries[#entries + 1] = {
                            path = entry.path, physical_address = entry.physical_address, size = entry.size_bytes,
                            checksum = entry.checksum,
                        }
                    end
                    index = index + 1
                end
                return key, entries
            end
        end

        loaded["lakefs/catalogexport/table_extractor"] = extractor
        loaded["lakefs/catalogexport/hive"] = hive
        """#

    private static let symlinks = #"""
        local loaded = package.loaded
        local internal, hive = loaded["lakefs/catalogexport/internal"], loaded["lakefs/catalogexport/hive"]
        local extractor, lakefs = loaded["lakefs/catalogexport/table_extractor"], loaded["lakefs"]
        local exporter = {}

        -- The commit that is exported: none is there before it is made.
        function internal.exported_commit(info)
            if info.commit_id ~= nil and info.commit_id ~= "" then return info.commit_id end
            error("there is no commit to export at " .. tostring(info.event_type) .. ": use a post- event", 3)
        end

        -- Writes a file for each partition, which holds the addresses of its data.
        function exporter.export_s3(client, table_src_path, info, options)
            options = options or {}
            local commit_id = internal.exported_commit(info)
            local base = options.export_base_uri or info.storage_namespace
            local prefix = internal.parse_storage_uri(internal.get_storage_uri_prefix(base, commit_id, info))
            local descriptor = extractor.get_table_descriptor(lakefs, info.repository_id, commit_id, table_src_path)
            internal.require_type(descriptor, "hive", "is exported so")
            local write = options.writer or client.put_object
            local root = prefix.key .. descriptor.name
            local pager = hive.extract_partition_pager(
                lakefs, info.repository_id, commit_id, descriptor.path, descriptor.partition_columns, options.page_size or 1000)
            for key, entries in pager do
                local lines = {}
                for index, entry in ipairs(entries) do lines[index] = entry.physical_address .. "\n" end
                local place = root .. "/" .. key .. "symlink.txt"
                if options.debug then print("writing " .. #entries .. " addresses to " .. prefix.protocol .. "://" .. prefix.bucket .. "/" .. place) end
                write(prefix.bucket, place, table.concat(lines))
            end
            return {location = prefix.protocol .. "://" .. prefix.bucket .. "/" .. root}
        end

        loaded["lakefs/catalogexport/symlink_exporter"] = exporter
        """#

    private static let glue = #"""
        local loaded = package.loaded
        local internal, extractor = loaded["lakefs/catalogexport/internal"], loaded["lakefs/catalogexport/table_extractor"]
        local lakefs, json = loaded["lakefs"], loaded["encoding/json"]
        local exporter = {}

        -- Spark's names of types, and Glue's where they are others.
        local types = {integer = "int", long = "bigint", short = "smallint", byte = "tinyint"}

        local function columns(fields, partition_columns)
            local isPartition, byName, own, keys = {}, {}, array({}), array({})
            for _, name in ipairs(partition_columns) do isPartition[name] = true end
            for _, field in ipairs(fields or {}) do
                local column = {
                    Name = field.name, Type = types[field.type] or field.type,
                    Comment = field.metadata and field.metadata.comment,
                }
                byName[field.name] = column
                if not isPartition[field.name] then own[#own + 1] = column end
            end
            for _, name in ipairs(partition_columns) do
                keys[#keys + 1] = byName[name] or error("the schema has no field for the partition column " .. name, 3)
            end
            return own, keys
        end

        function exporter.get_full_table_name(descriptor, info)
            return descriptor.name .. "_" .. info.repository_id .. "_" .. internal.ref_from_branch_or_tag(info) .. "_"
                .. internal.short_digest(info.commit_id or "")
        end

        -- Describes a table to Glue: where its symlinks are, and its columns. The rest is `create_table_input`'s.
        function exporter.export_glue(client, db, table_src_path, create_table_input, info, options)
            options = options or {}
            local commit_id = internal.exported_commit(info)
            local descriptor = extractor.get_table_descriptor(lakefs, info.repository_id, commit_id, table_src_path)
            internal.require_type(descriptor, "hive", "is exported to Glue")
            local input = internal.deepcopy(create_table_input or {})
            local own, keys = columns(descriptor.schema and descriptor.schema.fields, descriptor.partition_columns)
            local base = options.export_base_uri or info.storage_namespace
            input.Name = options.table_name or exporter.get_full_table_name(descriptor, info)
            input.PartitionKeys = input.PartitionKeys or keys
            input.TableType = input.TableType or "EXTERNAL_TABLE"
            input.StorageDescriptor = input.StorageDescriptor or {}
            input.StorageDescriptor.Columns = input.StorageDescriptor.Columns or own
            input.StorageDescriptor.Location = internal.get_storage_uri_prefix(base, commit_id, info) .. descriptor.name
            if options.create_db_input ~= nil then
                local made = internal.deepcopy(options.create_db_input)
                made.Name = made.Name or db
                client.create_database(db, json.marshal(made), {error_on_already_exists = false})
            end
            if options.debug then print("Glue table " .. db .. "." .. input.Name .. " at " .. input.StorageDescriptor.Location) end
            local _, exists = client.get_table(db, input.Name)
            if exists then
                client.update_table(db, json.marshal(input))
            else
                client.create_table(db, json.marshal(input))
            end
            return {create_table_input = input}
        end

        loaded["lakefs/catalogexport/glue_exporter"] = exporter
        """#

    private static let delta = #"""
        local loaded = package.loaded
        local internal, extractor = loaded["lakefs/catalogexport/internal"], loaded["lakefs/catalogexport/table_extractor"]
        local lakefs, json, url = loaded["lakefs"], loaded["encoding/json"], loaded["net/url"]
        local strings, z85 = loaded["strings"], loaded["encoding/z85enc"]
        local exporter = {}

        local function with_slash(text) return strings.has_suffix(text, "/") and text or text .. "/" end

        -- Those of the tables that have changed between two refs.
        function exporter.changed_table_defs(table_def_names, table_descriptors_path, repository, ref, compare_ref)
            local changed = {}
            for _, name in ipairs(table_def_names) do
                local descriptor = extractor.get_table_descriptor(lakefs, repository, ref, internal.descriptor_path(table_descriptors_path, name))
                if descriptor.path == nil then error("the descriptor of the table " .. name .. " has no path", 2) end
                local code, page = lakefs.diff_refs(repository, compare_ref, ref, "", with_slash(descriptor.path), "", 1)
                if code ~= 200 then error("comparing " .. compare_ref .. " and " .. ref .. ": HTTP " .. tostring(code), 2) end
                if #page.results > 0 then changed[#changed + 1] = name end
            end
            return changed
        end

        -- The address of a file of a table; nil if it is not there any more.
        local function address(info, commit_id, place, transform)
            local code, text = lakefs.stat_object(info.repository_id, commit_id, place)
            if code == 404 then return nil end
            if code ~= 200 then error("looking for " .. place .. ": HTTP " .. tostring(code)) end
            local found = json.unmarshal(text).physical_address
            return transform and transform(found) or found
        end

        -- A deletion vector in a file of the table's becomes one with an absolute path.
        local function absolute_vector(vector, root, info, commit_id, transform)
            if vector == nil or vector.storageType ~= "u" then return end
            local id, prefix = z85.decode_uuid(vector.pathOrInlineDv)
            local place = root .. (prefix ~= "" and prefix .. "/" or "") .. "deletion_vector_" .. id .. ".bin"
            local found = address(info, commit_id, place, transform)
            if found ~= nil then vector.storageType, vector.pathOrInlineDv = "p", found end
        end

        local function rewritten(line, root, info, commit_id, transform)
            local entry = json.unmarshal(line)
            for _, kind in ipairs({"add", "remove", "cdc"}) do
                local file = entry[kind]
                if file ~= nil and file.path ~= nil and not file.path:find("://", 1, true) then
                    -- What was removed, or added and removed later, may be gone: nobody reads it.
                    local found = address(info, commit_id, root .. url.query_unescape((file.path:gsub("+", "%%2B"))), transform)
                    if found ~= nil then file.path = found end
                    absolute_vector(file.deletionVector, root, info, commit_id, transform)
                end
            end
            local text = json.marshal(entry)
            return text:sub(-1) == "\n" and text or text .. "\n"
        end

        -- Writes the logs of Delta tables with the addresses of their files, so that who knows no lakeFS can read them.
        function exporter.export_delta_log(info, table_def_names, write_object, delta_client, table_descriptors_path, path_transformer)
            local commit_id = internal.exported_commit(info)
            local prefix = internal.get_storage_uri_prefix(info.storage_namespace, commit_id, info)
            local place, response = internal.parse_storage_uri(prefix), {}
            for _, name in ipairs(table_def_names) do
                local descriptor = extractor.get_table_descriptor(
                    lakefs, info.repository_id, commit_id, internal.descriptor_path(table_descriptors_path, name))
                if descriptor.path == nil or descriptor.name == nil then
                    error("the descriptor of the table " .. name .. " has no path or no name", 2)
                end
                local root = with_slash(descriptor.path)
                local versions, metadata = delta_client.get_table(info.repository_id, commit_id, descriptor.path)
                for _, version in ipairs(internal.sortedKeys(versions)) do
                    local lines = {}
                    for index, line in ipairs(versions[version]) do
                        lines[index] = rewritten(line, root, info, commit_id, path_transformer)
                    end
                    write_object(
                        place.bucket, place.key .. descriptor.name .. "/_delta_log/" .. string.format("%020d.json", version),
                        table.concat(lines))
                end
                local path = prefix .. descriptor.name
                response[name] = {path = path_transformer and path_transformer(path) or path, metadata = metadata}
            end
            return response
        end

        loaded["lakefs/catalogexport/delta_exporter"] = exporter
        """#

    private static let unity = #"""
        local loaded = package.loaded
        local internal, extractor = loaded["lakefs/catalogexport/internal"], loaded["lakefs/catalogexport/table_extractor"]
        local lakefs = loaded["lakefs"]
        local exporter = {}

        -- Registers exported Delta tables as external ones, in a schema that is called as the branch or tag.
        function exporter.register_tables(info, table_descriptors_path, delta_table_details, databricks_client, warehouse_id)
            local commit_id = internal.exported_commit(info)
            local schema, statuses = internal.ref_from_branch_or_tag(info), {}
            for _, name in ipairs(internal.sortedKeys(delta_table_details)) do
                local details = delta_table_details[name]
                local place = internal.descriptor_path(table_descriptors_path, name)
                local descriptor = extractor.get_table_descriptor(lakefs, info.repository_id, commit_id, place)
                internal.require_type(descriptor, "delta", "is registered")
                if descriptor.catalog == nil then error("the descriptor of the table " .. name .. " names no catalog", 2) end
                local made = databricks_client.create_schema(schema, descriptor.catalog, true)
                statuses[name] = databricks_client.register_external_table(
                    descriptor.name, details.path, warehouse_id, descriptor.catalog, made, details.metadata)
            end
            return statuses
        end

        loaded["lakefs/catalogexport/unity_exporter"] = exporter
        """#
}
