{{- define "ingress-nginx.name" -}}
{{ printf "%s-%s" .Release.Name "controller" | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "ingress-nginx.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: controller
{{- end }}
