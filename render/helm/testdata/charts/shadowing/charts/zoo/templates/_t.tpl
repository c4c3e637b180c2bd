{{- define "name" }}the zoo's{{ end -}}
{{- define "only" }}zoo of {{ .Chart.Name }}{{ end -}}
{{- define "aardvark/templates/b.txt" }}stolen{{ end -}}
