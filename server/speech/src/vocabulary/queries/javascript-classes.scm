(class_declaration name: (_) @type)
(class name: (_) @type)
(field_definition property: (property_identifier) @value)
