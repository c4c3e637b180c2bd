{{- define "base.merge" -}}
{{- $top := first . -}}
{{- $over := fromYaml (include (index . 1) $top) | default (dict) -}}
{{- $base := fromYaml (include (index . 2) $top) | default (dict) -}}
{{- toYaml (merge $over $base) -}}
{{- end -}}

{{- define "base.configmap.plain" -}}
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ .Release.Name }}-{{ .Chart.Name }}
  labels:
    {{- merge (dict "chart" (printf "%s-%s" .Chart.Name .Chart.Version)) .Values.labels | toYaml | nindent 4 }}
data:
  base: "0"
{{- end -}}

{{- define "base.configmap" -}}
{{- $top := first . -}}
{{- template "base.merge" (list $top (index . 1) "base.configmap.plain") -}}
{{- end -}}
