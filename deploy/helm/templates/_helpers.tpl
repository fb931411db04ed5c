{{- define "heloise.name" -}}
{{- if contains "heloise" .Release.Name }}{{ .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else }}{{ printf "%s-heloise" (.Release.Name | trunc 32 | trimSuffix "-") }}{{ end }}
{{- end }}

{{- define "heloise.selector" -}}
app.kubernetes.io/name: heloise
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* Labels of objects: (dict "root" $ "component" "api") */}}
{{- define "heloise.labels" -}}
{{ include "heloise.selector" .root }}
{{- with .component }}
app.kubernetes.io/component: {{ . }}
{{- end }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end }}

{{- define "heloise.serviceAccount" -}}
{{ .Values.serviceAccount.name | default (ternary (include "heloise.name" .) "default" .Values.serviceAccount.create) }}
{{- end }}

{{- define "heloise.image" -}}
{{- with .Values.image }}{{ .repository }}
{{- if .digest }}@{{ .digest }}{{ else }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}{{ end }}
{{- end }}

{{/* The settings that values hold as secrets, by the name of their file. */}}
{{- define "heloise.secrets" -}}
{{- $files := dict "heloise_secret_keys" .Values.secrets.secretKeys "heloise_admin_key" .Values.secrets.adminKey
  "heloise_metrics_token" .Values.secrets.metricsToken "heloise_oidc_client_secret" .Values.secrets.oidcClientSecret }}
{{- if eq .Values.database.kind "postgresql" }}{{ $_ := set $files "heloise_database_url" .Values.database.url }}{{ end }}
{{- $_ := set $files "heloise_database_read_url" .Values.database.readUrl }}
{{- range $name, $value := $files }}{{ if not $value }}{{ $_ := unset $files $name }}{{ end }}{{ end }}
{{- toYaml $files }}
{{- end }}

{{/* What the schema cannot say: values that need each other. */}}
{{- define "heloise.validate" -}}
{{- $database := .Values.database }}
{{- $secrets := .Values.secrets }}
{{- if and (eq $database.kind "postgresql") (not (or $database.url $database.existingSecret.name $secrets.existing)) }}
{{- fail "no database: set database.url, database.existingSecret or secrets.existing, or database.kind=sqlite" }}
{{- end }}
{{- if and $database.url $database.existingSecret.name }}
{{- fail "two databases: set either database.url or database.existingSecret" }}
{{- end }}
{{- if and $database.existingSecret.name (not $database.existingSecret.key) }}
{{- fail "database.existingSecret.key is empty: name the key that holds the URL" }}
{{- end }}
{{- if and (eq $database.kind "sqlite") (or $database.url $database.existingSecret.name $database.readUrl) }}
{{- fail "database.kind=sqlite keeps the database in its volume: leave database.url, database.existingSecret and database.readUrl out" }}
{{- end }}
{{- if not (or $secrets.secretKeys $secrets.existing (hasKey .Values.settings "HELOISE_SECRET_KEYS_COMMAND")) }}
{{- fail "no key to encrypt passwords with: set secrets.existing, secrets.secretKeys (`heloise secret-key` prints one) or settings.HELOISE_SECRET_KEYS_COMMAND" }}
{{- end }}
{{- if and .Values.submission.enabled (not .Values.submission.tlsSecret) }}
{{- fail "submission.tlsSecret is empty: programs must not send their keys in clear; name a Secret of type kubernetes.io/tls" }}
{{- end }}
{{- if and .Values.ingress.enabled (not .Values.ingress.host) }}
{{- fail "ingress.host is empty: name the host of the API" }}
{{- end }}
{{- if and .Values.httpRoute.enabled (not .Values.httpRoute.parentRefs) }}
{{- fail "httpRoute.parentRefs is empty: name a Gateway" }}
{{- end }}
{{- $elsewhere := dict
  "HELOISE_ADMIN_KEY" "secrets.adminKey" "HELOISE_DATABASE_URL" "database.url" "HELOISE_DATABASE_READ_URL" "database.readUrl" "HELOISE_METRICS_TOKEN" "secrets.metricsToken"
  "HELOISE_OIDC_CLIENT_SECRET" "secrets.oidcClientSecret" "HELOISE_SECRET_KEYS" "secrets.secretKeys"
  "OTEL_EXPORTER_OTLP_HEADERS" "extraEnvFrom" "OTEL_EXPORTER_OTLP_TRACES_HEADERS" "extraEnvFrom" "HELOISE_EHLO_NAME" "ehloName" "HELOISE_DELIVERY" "worker"
  "HELOISE_SHUTDOWN_GRACE_SECONDS" "shutdownGraceSeconds" "HELOISE_SUBMISSION" "submission.enabled"
  "HELOISE_SUBMISSION_HOSTNAME" "submission.hostname" "HELOISE_SUBMISSION_TRUSTED_PROXIES" "submission.trustedProxies"
  "HELOISE_SUBMISSION_TLS_CERTIFICATE" "submission.tlsSecret" "HELOISE_SUBMISSION_TLS_KEY" "submission.tlsSecret"
  "HELOISE_SUBMISSION_PORTS" "submission.service.ports" "HELOISE_SUBMISSION_TLS_PORTS" "submission.service.ports"
  "HELOISE_PORT" "api.service.port" "HELOISE_RESEND_PORT" "settings.HELOISE_RESEND_HOST" }}
{{- range $name, $_ := .Values.settings }}
{{- with get $elsewhere $name }}
{{- fail (printf "settings.%s: set %s instead" $name .) }}
{{- end }}
{{- if has $name (list "HELOISE_HOST" "HELOISE_SECRETS_DIR" "HELOISE_SUBMISSION_HTTP_PORT" "HELOISE_WORKER_PORT") }}
{{- fail (printf "settings.%s: the chart's probes and volumes need its own value; leave it out" $name) }}
{{- end }}
{{- if has $name (list "HELOISE_TLS_CERTIFICATE" "HELOISE_TLS_KEY" "HELOISE_TLS_CLIENT_CA") }}
{{- fail (printf "settings.%s: pods speak plain HTTP, as their probes do; set ingress or httpRoute for TLS" $name) }}
{{- end }}
{{- end }}
{{- if gt (int .Values.worker.autoscaling.minReplicas) (int .Values.worker.autoscaling.maxReplicas) }}
{{- fail "worker.autoscaling.minReplicas is above maxReplicas: lower it" }}
{{- end }}
{{- end }}

{{/* Files of settings: the chart's Secret, an existing one, and the database's. */}}
{{- define "heloise.secretsVolume" -}}
name: secrets
projected:
  defaultMode: 0440
  sources:
    {{- if ne (include "heloise.secrets" .) "{}" }}
    - secret: { name: {{ include "heloise.name" . }} }
    {{- end }}
    {{- with .Values.secrets.existing }}
    - secret: { name: {{ . }} }
    {{- end }}
    {{- with .Values.database.existingSecret }}
    {{- if .name }}
    - secret:
        name: {{ .name }}
        items: [{ key: {{ .key }}, path: heloise_database_url }]
    {{- end }}
    {{- end }}
{{- end }}

{{/* Variables of all containers; none is a secret. extraEnvFrom adds those that no file can give. */}}
{{- define "heloise.env" -}}
{{- if eq .Values.database.kind "sqlite" }}
- { name: HELOISE_DATABASE_URL, value: "sqlite:////data/heloise.db" }
{{- end }}
# Not /run/secrets: clouds mount tokens of a service account below it, and the volume is read-only.
- { name: HELOISE_SECRETS_DIR, value: /etc/heloise }
{{- with .Values.ehloName }}
- { name: HELOISE_EHLO_NAME, value: {{ . | quote }} }
{{- end }}
- { name: HELOISE_SHUTDOWN_GRACE_SECONDS, value: {{ .Values.shutdownGraceSeconds | int | quote }} }
{{- range $name, $value := .Values.settings }}
- name: {{ $name }}
  value: {{ (kindIs "float64" $value | ternary ($value | toJson) $value) | quote }}
{{- end }}
{{- end }}

{{/* Variables of a process that accepts SMTP. Ports below 1024 need a capability: the Service publishes them. */}}
{{- define "heloise.submissionEnv" -}}
{{- with .Values.submission.hostname }}
- { name: HELOISE_SUBMISSION_HOSTNAME, value: {{ . | quote }} }
{{- end }}
- { name: HELOISE_SUBMISSION_PORTS, value: "2587" }
- { name: HELOISE_SUBMISSION_TLS_PORTS, value: "2465" }
- { name: HELOISE_SUBMISSION_TLS_CERTIFICATE, value: /run/certificates/tls.crt }
- { name: HELOISE_SUBMISSION_TLS_KEY, value: /run/certificates/tls.key }
{{- with .Values.submission.trustedProxies }}
- { name: HELOISE_SUBMISSION_TRUSTED_PROXIES, value: {{ join "," . | quote }} }
{{- end }}
{{- end }}

{{- define "heloise.submissionPorts" -}}
- { name: submission, containerPort: 2587 }
- { name: submissions, containerPort: 2465 }
{{- end }}

{{- define "heloise.container" -}}
image: {{ include "heloise.image" .root }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: { drop: [ALL] }
env:
  {{- include "heloise.env" .root | trim | nindent 2 }}
  {{- with .env }}
  {{- . | trim | nindent 2 }}
  {{- end }}
{{- with .root.Values.extraEnvFrom }}
envFrom:
  {{- toYaml . | nindent 2 }}
{{- end }}
volumeMounts:
  - { name: secrets, mountPath: /etc/heloise, readOnly: true }
  - { name: tmp, mountPath: /tmp }
  {{- if .certificates }}
  - { name: certificates, mountPath: /run/certificates, readOnly: true }
  {{- end }}
  {{- if eq .root.Values.database.kind "sqlite" }}
  - { name: data, mountPath: /data }
  {{- end }}
  {{- with .root.Values.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}

{{/*
A pod of one container: (dict "root" $ "component" "api" "args" (list …) "env" text "ports" text "probes" port
"readiness" path "resources" dict "certificates" bool "migrates" bool)
*/}}
{{- define "heloise.pod" -}}
metadata:
  labels:
    {{- include "heloise.labels" . | nindent 4 }}
    {{- with .root.Values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  annotations:
    # Pods read the files of the Secret once, at their start.
    checksum/secrets: {{ include "heloise.secrets" .root | sha256sum }}
    {{- with .root.Values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  serviceAccountName: {{ include "heloise.serviceAccount" .root }}
  automountServiceAccountToken: false
  enableServiceLinks: false
  # The sleep before SIGTERM, the grace, and a rest.
  terminationGracePeriodSeconds: {{ add .root.Values.shutdownGraceSeconds 15 }}
  securityContext:
    runAsNonRoot: true
    runAsUser: 10001
    runAsGroup: 10001
    fsGroup: 10001
    fsGroupChangePolicy: OnRootMismatch
    seccompProfile: { type: RuntimeDefault }
  {{- with .root.Values.image.pullSecrets }}
  imagePullSecrets: {{ toYaml . | nindent 4 }}
  {{- end }}
  {{- if and .migrates .root.Values.migrate }}
  initContainers:
    - name: migrate
      args: [migrate]
      {{- include "heloise.container" (dict "root" .root) | nindent 6 }}
      resources:
        {{- toYaml .resources | nindent 8 }}
  {{- end }}
  containers:
    - name: {{ .component }}
      args: {{ toJson .args }}
      {{- include "heloise.container" . | nindent 6 }}
      ports:
        {{- .ports | trim | nindent 8 }}
      livenessProbe:
        httpGet: { path: /healthz, port: {{ .probes }} }
        timeoutSeconds: 4
      readinessProbe:
        httpGet: { path: {{ .readiness | quote }}, port: {{ .probes }} }
        periodSeconds: 5
        timeoutSeconds: 6
      {{- if ne .component "worker" }}
      # Load balancers learn that the pod goes while it still accepts.
      lifecycle: { preStop: { sleep: { seconds: 5 } } }
      {{- end }}
      resources:
        {{- toYaml .resources | nindent 8 }}
  {{- with .root.Values.topologySpread }}
  topologySpreadConstraints:
    {{- range . }}
    - {{ toYaml . | nindent 6 | trim }}
      labelSelector:
        matchLabels:
          {{- include "heloise.selector" $.root | nindent 10 }}
          app.kubernetes.io/component: {{ $.component }}
    {{- end }}
  {{- end }}
  {{- with .root.Values.nodeSelector }}
  nodeSelector: {{ toYaml . | nindent 4 }}
  {{- end }}
  {{- with .root.Values.tolerations }}
  tolerations: {{ toYaml . | nindent 4 }}
  {{- end }}
  {{- with .root.Values.affinity }}
  affinity: {{ toYaml . | nindent 4 }}
  {{- end }}
  {{- with .root.Values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  volumes:
    - {{ include "heloise.secretsVolume" .root | nindent 6 | trim }}
    - name: tmp
      emptyDir: { sizeLimit: 64Mi }
    {{- if .certificates }}
    - name: certificates
      secret: { secretName: {{ .root.Values.submission.tlsSecret }}, defaultMode: 0440 }
    {{- end }}
    {{- with .root.Values.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end }}

{{/* Metadata and the head of the spec of what runs pods. */}}
{{- define "heloise.controller" -}}
metadata:
  name: {{ include "heloise.name" .root }}{{ with .suffix }}-{{ . }}{{ end }}
  labels: {{ include "heloise.labels" . | nindent 4 }}
{{- end }}

{{- define "heloise.podSelector" -}}
matchLabels:
  {{- include "heloise.selector" .root | nindent 2 }}
  app.kubernetes.io/component: {{ .component }}
{{- end }}
