import DefaultTheme from 'vitepress/theme';
import { defineAsyncComponent } from 'vue';
import { boostDocument } from '../search.mjs';
import './style.css';

export default {
  extends: DefaultTheme,
  enhanceApp({ app, siteData }) {
    // Not in the configuration: VitePress would write the function as a string, and evaluate it on each page.
    Object.assign(siteData.value.themeConfig.search.options.miniSearch.searchOptions, { boostDocument });
    app.component(
      'Playground',
      defineAsyncComponent(() => import('../../playground/Playground.vue')),
    );
  },
};
