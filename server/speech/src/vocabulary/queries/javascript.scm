(function_declaration name: (_) @function)
(generator_function_declaration name: (_) @function)
(function_expression name: (_) @function)
(method_definition name: (property_identifier) @function)
(variable_declarator name: (identifier) @function value: [(arrow_function) (function_expression)])
(assignment_expression
  left: [(identifier) @function (member_expression property: (property_identifier) @function)]
  right: [(arrow_function) (function_expression)])
(pair key: (property_identifier) @function value: [(arrow_function) (function_expression)])
(program (lexical_declaration (variable_declarator name: (identifier) @value)))
(program (export_statement declaration: (lexical_declaration (variable_declarator name: (identifier) @value))))
(call_expression function: (identifier) @reference)
(call_expression function: (member_expression property: (property_identifier) @reference))
(new_expression constructor: (identifier) @reference)
