"""The expression language of every mapping: JMESPath over JSON, also JSON that stands in a text."""
