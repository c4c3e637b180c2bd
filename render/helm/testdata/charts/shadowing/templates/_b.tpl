{{- define "twice" }}second{{ end -}}
{{- define "shadowing/templates/c.yaml" }}never{{ end -}}
