"""LiteLLM's configuration keys that this version accepts without using them, by section.

Kept as data, apart from the schema: a key leaves its list on the day a field takes it over. Keys that are in
no list are reported as unknown, so that a typing error is not mistaken for a setting without effect.
"""

from __future__ import annotations

from typing import Final


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


PROTECTIONS: Final = _words(
    """guardrails policies policy_attachments guardrails_config guardrail_list max_budget budget_duration
    default_max_internal_user_budget tag_budget_config
    provider_budget_config default_internal_user_params default_team_params default_team_settings
    rpd tpd itpm otpm default_api_key_rpm_limit default_api_key_tpm_limit
    max_parallel_requests max_response_size_mb max_in_flight_requests_per_worker max_queued_requests_per_worker
    fail_closed_rate_limit_enforcement token_rate_limit_type user_url_validation ssl_security_level ssl_certificate
    enable_json_schema_validation enable_key_alias_format_validation enable_tag_filtering enable_pre_call_checks
    optional_pre_call_checks custom_auth custom_auth_run_common_checks custom_key_generate custom_key_update
    custom_sso custom_ui_sso_sign_in_handler enable_jwt_auth litellm_jwtauth enable_oauth2_auth enable_oauth2_proxy_auth
    enforce_rbac role_permissions allowed_routes admin_only_routes allowed_ips mcp_internal_ip_ranges
    mcp_trusted_proxy_ranges enforced_params enforce_user_param enforce_fallback_model_access
    reject_clientside_metadata_tags ui_access_mode service_account_settings block_robots blocked default_team_disabled
    experimental_user_permissions image_generation_moderation default_key_generate_params max_file_size_mb team_id"""
)
"""Those of all the sections that keep somebody from something: whoever writes one relies on it."""

TOP_LEVEL: Final = _words(
    """guardrails policies policy_attachments prompts mcp_servers mcp_tools vector_store_registry search_tools
    files_settings finetune_settings assistant_settings callback_settings agents agent_list worker_registry sandbox"""
)

LITELLM_PARAMS: Final = _words(
    """itpm otpm rpd tpd max_retries num_retries tags tag_regex max_budget budget_duration region_name
    configurable_clientside_auth_params aws_access_key_id aws_secret_access_key aws_session_token aws_region_name
    aws_role_name aws_session_name aws_profile_name aws_web_identity_token aws_sts_endpoint aws_external_id
    aws_bedrock_runtime_endpoint vertex_project vertex_location vertex_credentials tenant_id client_id client_secret
    azure_scope azure_username azure_password use_in_pass_through use_litellm_proxy mock_response mock_timeout
    cache_control_injection_points merge_reasoning_content_in_choices guardrails auto_router_config
    auto_router_config_path auto_router_default_model auto_router_embedding_model complexity_router_config
    quality_router_config adaptive_router_config input_cost_per_second output_cost_per_second input_cost_per_pixel
    output_cost_per_pixel input_cost_per_character output_cost_per_character input_cost_per_audio_token
    output_cost_per_audio_token input_cost_per_image output_cost_per_image cache_read_input_audio_token_cost
    cache_creation_input_audio_token_cost cache_creation_input_token_cost_above_1hr model_info
    litellm_trace_id max_file_size_mb s3_bucket_name gcs_bucket_name ssl_verify router_model_id default_api_key_rpm_limit
    default_api_key_tpm_limit use_chat_completions_api supports_system_message disable_add_transform_inline_image_block
    prompt_id prompt_variables hf_model_name watsonx_region_name""",
)

REQUEST_PARAMETERS: Final = _words(
    """temperature top_p top_k n stop max_tokens max_completion_tokens presence_penalty frequency_penalty logit_bias
    logprobs top_logprobs seed user response_format tools tool_choice parallel_tool_calls functions function_call
    reasoning_effort thinking service_tier store metadata modalities audio prediction verbosity safety_identifier
    prompt_cache_key web_search_options stream_options dimensions encoding_format input_type min_p repetition_penalty
    suffix echo best_of context_management output_config"""
)
"""Request parameters that may stand in `litellm_params` as defaults."""

MODEL_INFO: Final = _words(
    """max_input_tokens max_tokens litellm_provider description version disable_background_health_check
    health_check_timeout health_check_model health_check_max_tokens health_check_voice team_id team_public_model_name
    tier blocked region created_at updated_at created_by updated_by db_model notes key tpm rpm
    supported_environments supported_openai_params output_vector_size input_cost_per_second output_cost_per_second
    input_cost_per_audio_token output_cost_per_audio_token input_cost_per_image output_cost_per_image
    input_cost_per_character output_cost_per_character supported_endpoints supported_modalities
    supported_output_modalities source metadata deprecation_date custom_tokenizer tool_use_system_prompt_tokens
    cache_creation_input_token_cost_above_1hr search_context_cost_per_query supports_assistant_prefill
    supports_audio_input supports_audio_output supports_computer_use supports_embedding_image_input
    supports_function_calling supports_minimal_reasoning_effort supports_native_streaming supports_none_reasoning_effort
    supports_parallel_function_calling supports_pdf_input supports_prompt_caching supports_reasoning
    supports_response_schema supports_service_tier supports_system_messages supports_tool_choice supports_url_context
    supports_video_input supports_vision supports_web_search supports_xhigh_reasoning_effort"""
)

LITELLM_SETTINGS: Final = _words(
    """modify_params context_window_fallbacks content_policy_fallbacks success_callback failure_callback callbacks
    service_callbacks service_callback audit_log_callbacks turn_off_message_logging redact_user_api_key_info
    global_disable_no_log_param redact_messages_in_exceptions json_logs set_verbose suppress_debug_info cache
    enable_redis_auth_cache ssl_verify ssl_certificate ssl_security_level ssl_ecdh_curve force_ipv4
    default_team_settings default_team_params default_internal_user_params
    default_key_generate_params cost_discount_config
    cost_margin_config enable_json_schema_validation prometheus_metrics_config
    custom_prometheus_metadata_labels custom_prometheus_tags prometheus_initialize_budget_metrics
    include_cost_in_streaming_usage mcp_aliases public_model_groups public_model_groups_links
    disable_end_user_cost_tracking_prometheus_only tag_budget_config tags
    allowed_fails cooldown_time langfuse_default_tags default_redis_ttl default_in_memory_ttl default_redis_batch_cache_expiry
    enable_preview_features return_response_headers telemetry store_audit_logs default_vertex_config headers
    extra_spend_tag_headers default_max_internal_user_budget s3_callback_params guardrails_config enable_key_alias_format_validation
    disable_token_counter disable_add_prefix_to_prompt disable_hf_tokenizer_download drop_unknown_params
    enable_caching_on_provider_specific_optional_params api_base api_key api_version organization use_client_cache
    aws_sqs_callback_params datadog_llm_observability_params max_tokens token user_url_validation"""
)

CACHE_PARAMS: Final = _words(
    """type mode ttl namespace supported_call_types similarity_threshold s3_bucket_name s3_region_name s3_api_version
    s3_aws_access_key_id s3_aws_secret_access_key s3_endpoint_url qdrant_api_base qdrant_api_key qdrant_collection_name
    qdrant_quantization_config qdrant_semantic_cache_embedding_model redis_semantic_cache_embedding_model
    redis_semantic_cache_index_name redis_flush_size default_in_memory_ttl default_in_redis_ttl disk_cache_dir
    max_connections gcp_service_account gcp_ssl_ca_certs socket_timeout ssl_cert_reqs ssl_check_hostname"""
)

ROUTER_SETTINGS: Final = _words(
    """routing_strategy_args routing_groups retry_policy model_group_retry_policy allowed_fails_policy
    context_window_fallbacks content_policy_fallbacks enable_pre_call_checks optional_pre_call_checks
    enable_tag_filtering tag_filtering_match_any provider_budget_config cache_responses
    cache_kwargs caching_groups client_ttl default_priority polling_interval
    enable_weighted_failover enable_health_check_routing enable_mid_stream_fallback_continuation debug_level set_verbose
    router_general_settings alerting_config assistants_config max_retries
    fallback_headers ignore_invalid_deployments search_tools guardrail_list health_check_staleness_threshold
    deployment_affinity_ttl_seconds"""
)

GENERAL_SETTINGS: Final = _words(
    """allow_requests_on_db_unavailable
    supported_db_objects proxy_config_reload_interval_seconds store_prompts_in_spend_logs
    disable_error_logs maximum_spend_logs_retention_interval proxy_batch_write_at
    use_redis_transaction_buffer alerting alerting_threshold alert_types alerting_args alert_type_config
    max_parallel_requests max_response_size_mb max_in_flight_requests_per_worker max_queued_requests_per_worker
    background_health_checks health_check_interval health_check_details health_check_concurrency use_shared_health_check
    pass_through_endpoints custom_auth
    custom_auth_run_common_checks custom_key_generate custom_key_update custom_sso custom_ui_sso_sign_in_handler
    enable_jwt_auth litellm_jwtauth enable_oauth2_auth enable_oauth2_proxy_auth enforce_rbac role_permissions
    key_management_system key_management_settings use_google_kms use_azure_key_vault allowed_routes admin_only_routes
    public_routes allowed_ips use_x_forwarded_for mcp_internal_ip_ranges mcp_trusted_proxy_ranges enforced_params
    enforce_user_param user_header_name user_header_mappings litellm_key_header_name forward_client_headers_to_llm_api
    forward_llm_provider_auth_headers forward_openai_org_id cancel_on_disconnect reject_clientside_metadata_tags
    completion_model embedding_model image_generation_model moderation_model user_api_key_cache_ttl
    ui_access_mode token_rate_limit_type fail_closed_rate_limit_enforcement database_type database_args
    database_connection_pool_timeout disable_prisma_schema_update disable_reset_budget disable_adding_master_key_hash_to_db
    disable_load_balancing disable_responses_id_security enable_public_model_hub control_plane_url default_team_disabled
    proxy_budget_rescheduler_min_time proxy_budget_rescheduler_max_time experimental_user_permissions service_account_settings
    image_generation_moderation otel enforce_fallback_model_access auto_redirect_ui_login_to_sso user_mcp_management_mode
    store_audit_logs allow_client_side_credentials pass_through_request_timeout maximum_spend_logs_cleanup_cron
    spend_report_frequency cold_storage_custom_logger allow_user_auth block_robots salt_key disable_master_key_return
    disable_retry_on_max_parallel_request_limit_error store_model_in_db_source sso_client_id"""
)
